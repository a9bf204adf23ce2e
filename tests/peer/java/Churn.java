import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** A member of a group under churn with the official client; says the same lines as tests/churn/member.rs. */
final class Churn {
    private static final String TOPIC = "churn";

    /** NAMESRV GROUP ID concurrent|orderly */
    public static void main(String[] args) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(args[1]);
        consumer.setNamesrvAddr(args[0]);
        consumer.setInstanceName(args[2]);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setHeartbeatBrokerInterval(1000);
        consumer.setAwaitTerminationMillisWhenShutdown(5000);
        consumer.subscribe(TOPIC, "*");
        if (args[3].equals("orderly")) {
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                for (MessageExt message : messages) did(message);
                return ConsumeOrderlyStatus.SUCCESS;
            });
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                for (MessageExt message : messages) did(message);
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
        }
        consumer.start();
        boolean[] leave = {false};
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            leave[0] = true;
            consumer.shutdown();
            // The exit code of a signal says nothing of how it went.
            Runtime.getRuntime().halt(0);
        }));
        // From here on it can be told to leave.
        say("ready");
        String owned = "";
        while (!leave[0]) {
            TreeSet<Integer> queues = new TreeSet<>();
            for (MessageQueue queue : consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet())
                if (queue.getTopic().equals(TOPIC)) queues.add(queue.getQueueId());
            String now = queues.toString().replaceAll("[\\[\\] ]", "");
            if (!now.equals(owned)) say("own " + now);
            owned = now;
            Thread.sleep(10);
        }
    }

    private static void did(MessageExt message) {
        say("did " + message.getQueueId() + " " + message.getQueueOffset() + " " + System.currentTimeMillis());
    }

    private static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }
}
