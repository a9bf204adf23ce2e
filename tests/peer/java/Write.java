import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** One generation of everything that a store can hold. */
final class Write {
    static final String GROUP = "workers";
    private static final String[] TAGS = {"TagA", "TagB", "Größe", "😀tag"};
    private static final int SOON = 1, PENDING = 3, DEAD = -1;
    private static final int ORDERS = 600, PAYMENTS = 60, LARGE = 8, BATCHES = 5, BATCH = 20;

    private final Cluster cluster;
    private final int generation;
    private final Random random;
    private DefaultMQProducer producer;
    private PrintWriter receipts;

    Write(Cluster cluster, int generation) {
        this.cluster = cluster;
        this.generation = generation;
        random = new Random(generation);
    }

    void run(Path out, boolean transactions) throws Exception {
        producer = cluster.prepare(new DefaultMQProducer("dump-writers"));
        producer.setSendMsgTimeout(10_000);
        producer.start();
        receipts = new PrintWriter(Files.newBufferedWriter(out));
        if (generation == 1) fixtures();
        configs();
        long[] before = ends("orders");
        orders(before);
        payments();
        batches();
        if (transactions) transactions();
        offsets(before);
        delayed(before);
        receipts.close();
        producer.shutdown();
    }

    /** What is made once and then only added to. */
    private void fixtures() throws Exception {
        cluster.createTopic("orders", 4, 4, 6, false);
        cluster.createTopic("payments", 2, 2, 6, false);
        cluster.createTopic("audit", 1, 1, 6, true);
        cluster.createTopic("later", 2, 2, 6, false);
        cluster.createTopic("closed", 1, 1, 6, false);
        for (int i = 0; i < 5; i++) send(new Message("closed", bytes("before it was closed " + i)), cluster.queue("closed", 0));
        cluster.setTopic("closed", 1, 1, 4, false);
        cluster.createGroup("{\"groupName\":\"" + GROUP + "\",\"consumeEnable\":true,\"consumeFromMinEnable\":true,\"consumeBroadcastEnable\":false,"
            + "\"retryQueueNums\":2,\"retryMaxTimes\":5,\"brokerId\":0,\"whichBrokerWhenConsumeSlowly\":1,\"notifyConsumerIdsChangedEnable\":true}");
    }

    /** Topics and a group of this generation. */
    private void configs() throws Exception {
        cluster.createTopic("fresh-" + generation, 3, 2, 6, generation % 2 == 0);
        for (int i = 0; i < 10; i++) send(new Message("fresh-" + generation, "t", "fresh", bytes("fresh " + i)), cluster.queue("fresh-" + generation, i % 2));
        cluster.createGroup("{\"groupName\":\"group-" + generation + "\",\"consumeEnable\":false,\"consumeFromMinEnable\":false,\"consumeBroadcastEnable\":true,"
            + "\"retryQueueNums\":3,\"retryMaxTimes\":" + (3 + generation) + ",\"brokerId\":1,\"whichBrokerWhenConsumeSlowly\":0,\"notifyConsumerIdsChangedEnable\":false}");
        // A topic that the broker makes since somebody sends to it.
        for (int i = 0; i < 5; i++) receive("auto-" + generation, producer.send(new Message("auto-" + generation, bytes("made by sending " + i))));
    }

    private void orders(long[] before) throws Exception {
        for (int i = 0; i < ORDERS; i++) {
            Message message = new Message("orders", TAGS[i % TAGS.length], "order-" + generation + "-" + i + " shared-" + generation + "-" + i % 17, body(i * 37 % 900 + 1));
            message.setFlag(i);
            message.putUserProperty("färbe", "blau " + i);
            // Not the tag's order, so that every queue gets every tag.
            int queue = (i + i / 4) % 4;
            SendResult sent = send(message, cluster.queue("orders", queue));
            if (sent.getQueueOffset() != before[queue]++) throw new IllegalStateException("not the next offset of its queue: " + sent);
        }
    }

    private void payments() throws Exception {
        for (int i = 0; i < PAYMENTS; i++) send(new Message("payments", body(1)), cluster.queue("payments", i % 2));
        for (int i = 0; i < LARGE; i++) {
            send(new Message("payments", "big", "large-" + generation + "-" + i, body(150_000 + 13_000 * i)), cluster.queue("payments", i % 2));
            send(new Message("payments", "big", bytes("compressible ".repeat(2000))), cluster.queue("payments", i % 2));
        }
    }

    private void batches() throws Exception {
        for (int i = 0; i < BATCHES; i++) {
            List<Message> batch = new ArrayList<>();
            for (int j = 0; j < BATCH; j++) batch.add(new Message("audit", "batch", "batch-" + generation + "-" + i, body(j + 1)));
            SendResult sent = producer.send(batch, cluster.queue("audit", 0));
            if (sent.getSendStatus() != SendStatus.SEND_OK) throw new IllegalStateException(sent.toString());
            String[] ids = sent.getMsgId().split(","), offsetIds = sent.getOffsetMsgId().split(",");
            if (ids.length != BATCH || offsetIds.length != BATCH) throw new IllegalStateException("not an id for each message of a batch: " + sent);
            for (int j = 0; j < BATCH; j++) receipts.println(Dump.receipt("audit", 0, sent.getQueueOffset() + j, ids[j], offsetIds[j]));
        }
    }

    private void transactions() throws Exception {
        TransactionMQProducer transactional = cluster.prepare(new TransactionMQProducer("dump-transactions"));
        transactional.setTransactionListener(new TransactionListener() {
            @Override public LocalTransactionState executeLocalTransaction(Message message, Object commit) {
                return (Boolean) commit ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE;
            }
            @Override public LocalTransactionState checkLocalTransaction(MessageExt message) { return LocalTransactionState.UNKNOW; }
        });
        transactional.start();
        long before = cluster.count("payments");
        for (int i = 0; i < 3; i++) transactional.sendMessageInTransaction(new Message("payments", "tx", "tx-" + generation + "-" + i, bytes("transaction " + i)), i != 1);
        Cluster.eventually("two committed messages", () -> cluster.count("payments") == before + 2);
        transactional.shutdown();
    }

    /** The group has consumed half of what is new. */
    private void offsets(long[] before) throws Exception {
        DefaultMQPullConsumer consumer = consumer(GROUP);
        for (String topic : List.of("orders", "payments"))
            for (MessageQueue queue : cluster.queues(topic)) {
                long from = cluster.committed(topic, GROUP, queue.getQueueId());
                cluster.commit(consumer, queue, from + (cluster.max(queue) - from) / 2);
            }
        consumer.shutdown();
        DefaultMQPullConsumer other = consumer("group-" + generation);
        cluster.commit(other, cluster.queue("fresh-" + generation, 0), 3);
        other.shutdown();
    }

    /** Given back and delayed messages; the longest delays last, so that they are pending when the broker stops. */
    private void delayed(long[] ends) throws Exception {
        DefaultMQPullConsumer consumer = consumer(GROUP);
        Cluster.eventually("the orders", () -> cluster.max(cluster.queue("orders", 0)) == ends[0]);
        List<MessageExt> given = cluster.read(cluster.queue("orders", 0), "*", ends[0] - 6);
        giveBack(consumer, given.get(0), DEAD);
        for (MessageExt message : given.subList(1, 3)) giveBack(consumer, message, SOON);
        for (int i = 0; i < 2; i++) later(i, SOON, 1000);
        long retried = 5L * generation - 3, came = 8L * generation - 6;
        Cluster.eventually("the short delays", () -> cluster.count("%RETRY%" + GROUP) == retried && cluster.count("later") == came);
        Cluster.eventually("the dead letter", () -> cluster.count("%DLQ%" + GROUP) == generation);
        for (MessageExt message : given.subList(3, 6)) giveBack(consumer, message, PENDING);
        for (int i = 2; i < 8; i++) later(i, PENDING, Long.getLong("takeover.delay"));
        consumer.shutdown();
    }

    private void giveBack(DefaultMQPullConsumer consumer, MessageExt message, int level) throws Exception {
        consumer.sendMessageBack(message, level, Cluster.BROKER, GROUP);
    }

    private void later(int i, int level, long delayMs) throws Exception {
        Message message = new Message("later", "delayed", "later-" + generation + "-" + i, bytes("later " + generation + " " + i));
        message.setDelayTimeLevel(level);
        message.putUserProperty("takeover-delay-ms", "" + delayMs);
        SendResult sent = producer.send(message, cluster.queue("later", i % 2));
        if (sent.getSendStatus() != SendStatus.SEND_OK) throw new IllegalStateException(sent.toString());
    }

    /** A consumer that knows the way: without it, the client would send what is given back as a new message. */
    private DefaultMQPullConsumer consumer(String group) throws Exception {
        DefaultMQPullConsumer consumer = cluster.prepare(new DefaultMQPullConsumer(group));
        consumer.start();
        var client = consumer.getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory();
        Cluster.eventually("the route of a consumer", () -> {
            client.updateTopicRouteInfoFromNameServer("orders");
            return client.findBrokerAddressInPublish(Cluster.BROKER) != null;
        });
        return consumer;
    }

    private long[] ends(String topic) throws Exception {
        List<Long> ends = new ArrayList<>();
        for (MessageQueue queue : cluster.queues(topic)) ends.add(cluster.max(queue));
        return ends.stream().mapToLong(Long::longValue).toArray();
    }

    private SendResult send(Message message, MessageQueue queue) throws Exception {
        SendResult sent = producer.send(message, queue);
        receive(message.getTopic(), sent);
        return sent;
    }

    private void receive(String topic, SendResult sent) {
        if (sent.getSendStatus() != SendStatus.SEND_OK) throw new IllegalStateException(sent.toString());
        receipts.println(Dump.receipt(topic, sent.getMessageQueue().getQueueId(), sent.getQueueOffset(), sent.getMsgId(), sent.getOffsetMsgId()));
    }

    private byte[] body(int length) {
        byte[] body = new byte[length];
        random.nextBytes(body);
        return body;
    }

    private static byte[] bytes(String text) { return text.getBytes(StandardCharsets.UTF_8); }
}
