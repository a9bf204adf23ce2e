import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** A group goes on where it stopped: it is given exactly what it has not committed, retried messages among it. */
final class Resume {
    private static final long SETTLE_MS = 1500;
    private final Cluster cluster;
    private final String group;

    Resume(Cluster cluster, String group) {
        this.cluster = cluster;
        this.group = group;
    }

    void run(List<String> topics) throws Exception {
        List<String> all = new ArrayList<>(topics);
        all.add("%RETRY%" + group);
        List<String> want = uncommitted(all);
        if (want.isEmpty()) throw new IllegalStateException("nothing is left for " + group + " to consume");
        List<String> got = consume(topics, want.size());
        if (!new TreeSet<>(got).equals(new TreeSet<>(want))) throw new IllegalStateException(difference(want, got));
        if (got.size() != want.size()) throw new IllegalStateException(got.size() - want.size() + " messages were delivered twice to " + group);
        List<String> left = uncommitted(all);
        if (!left.isEmpty()) throw new IllegalStateException("consumed and not committed: " + left);
    }

    private static String difference(List<String> want, List<String> got) {
        TreeSet<String> missing = new TreeSet<>(want), odd = new TreeSet<>(got);
        got.forEach(missing::remove);
        want.forEach(odd::remove);
        return missing.size() + " of " + want.size() + " uncommitted messages did not come, " + odd.size() + " others did; first: "
            + (missing.isEmpty() ? odd.first() : missing.first());
    }

    private List<String> uncommitted(List<String> topics) throws Exception {
        List<String> messages = new ArrayList<>();
        for (String topic : topics)
            for (MessageQueue queue : cluster.queues(topic))
                for (MessageExt message : cluster.read(queue, "*", cluster.committed(topic, group, queue.getQueueId()))) messages.add(name(topic, message));
        return messages;
    }

    private static String name(String topic, MessageExt message) { return topic + " " + message.getQueueId() + " " + message.getQueueOffset(); }

    private List<String> consume(List<String> topics, int count) throws Exception {
        ConcurrentLinkedQueue<String> got = new ConcurrentLinkedQueue<>();
        DefaultMQPushConsumer consumer = cluster.prepare(new DefaultMQPushConsumer(group));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPersistConsumerOffsetInterval(500);
        for (String topic : topics) consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) got.add(name(context.getMessageQueue().getTopic(), message));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        long end = System.currentTimeMillis() + 40_000;
        while (got.size() < count && System.currentTimeMillis() < end) Thread.sleep(100);
        Thread.sleep(SETTLE_MS);
        consumer.shutdown();
        return new ArrayList<>(got);
    }
}
