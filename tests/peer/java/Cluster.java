import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.impl.MQAdminImpl;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RemotingSerializable;

/**
 * One broker as the official client sees it. What the client generations name differently is asked for with plain
 * requests: a request code, its fields, and a JSON body read as maps.
 */
final class Cluster implements AutoCloseable {
    static final String BROKER = "broker-a";
    private static final int UPDATE_TOPIC = 17, ALL_TOPICS = 21, ALL_OFFSETS = 43, UPDATE_GROUP = 200, ALL_GROUPS = 201;
    private static final long PATIENCE_MS = 40_000;
    private static int instances;

    final String namesrv;
    final String broker;
    final DefaultMQPullConsumer puller;
    private final MQClientInstance client;

    /** Connects, and waits until the name server sends clients to this broker. */
    Cluster(String namesrv, String broker) throws Exception {
        this.namesrv = namesrv;
        this.broker = broker;
        puller = prepare(new DefaultMQPullConsumer("dump-readers"));
        puller.start();
        client = puller.getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory();
        eventually("the broker at the name server", () -> {
            client.updateTopicRouteInfoFromNameServer("TBW102");
            return client.findBrokerAddressInPublish(BROKER) != null && topics() != null;
        });
    }

    <C extends ClientConfig> C prepare(C config) {
        config.setNamesrvAddr(namesrv);
        config.setInstanceName("takeover-" + instances++);
        config.setVipChannelEnabled(false);
        return config;
    }

    MQAdminImpl admin() { return client.getMQAdminImpl(); }

    // ---- what the broker has ----

    /** Every topic with its configuration, as a slave would copy it. */
    Map<String, Map<String, Object>> topics() throws Exception { return table(ALL_TOPICS, "topicConfigTable"); }

    Map<String, Map<String, Object>> groups() throws Exception { return table(ALL_GROUPS, "subscriptionGroupTable"); }

    /** Committed offsets by {@code topic@group} and queue. */
    Map<String, Map<String, Object>> offsets() throws Exception { return table(ALL_OFFSETS, "offsetTable"); }

    long committed(String topic, String group, int queue) throws Exception {
        Map<String, Object> of = offsets().getOrDefault(topic + "@" + group, Map.of());
        Object offset = of.get(Integer.toString(queue));
        return offset == null ? 0 : Long.parseLong(offset.toString());
    }

    /** All queues that a topic's configuration speaks of. */
    List<MessageQueue> queues(String topic) throws Exception {
        List<MessageQueue> queues = new ArrayList<>();
        Map<String, Object> config = topics().get(topic);
        if (config == null) return queues;
        int count = Math.max((Integer) config.get("readQueueNums"), (Integer) config.get("writeQueueNums"));
        for (int i = 0; i < count; i++) queues.add(queue(topic, i));
        return queues;
    }

    MessageQueue queue(String topic, int id) { return new MessageQueue(topic, BROKER, id); }

    long min(MessageQueue queue) throws Exception { return admin().minOffset(queue); }

    long max(MessageQueue queue) throws Exception { return admin().maxOffset(queue); }

    /** Messages that a topic has in all of its queues. */
    long count(String topic) throws Exception {
        long count = 0;
        for (MessageQueue queue : queues(topic)) count += max(queue) - min(queue);
        return count;
    }

    /** What consumers with this subscription read from {@code offset} on. */
    List<MessageExt> read(MessageQueue queue, String tags, long offset) throws Exception {
        List<MessageExt> messages = new ArrayList<>();
        long end = max(queue);
        while (offset < end) {
            PullResult pulled = puller.pull(queue, tags, offset, 32);
            if (pulled.getPullStatus() == PullStatus.FOUND) messages.addAll(pulled.getMsgFoundList());
            if (pulled.getNextBeginOffset() <= offset) throw new IllegalStateException(queue + " at " + offset + " of " + end + ": " + pulled);
            offset = pulled.getNextBeginOffset();
        }
        return messages;
    }

    // ---- changes of its configuration ----

    void createTopic(String topic, int read, int write, int perm, boolean order) throws Exception {
        setTopic(topic, read, write, perm, order);
        eventually("the route of " + topic, () -> {
            client.updateTopicRouteInfoFromNameServer(topic);
            var route = client.getAnExistTopicRouteData(topic);
            return route != null && route.getQueueDatas().stream().anyMatch(data -> data.getWriteQueueNums() == write);
        });
    }

    void setTopic(String topic, int read, int write, int perm, boolean order) throws Exception {
        HashMap<String, String> fields = new HashMap<>();
        fields.put("topic", topic);
        fields.put("defaultTopic", "TBW102");
        fields.put("readQueueNums", "" + read);
        fields.put("writeQueueNums", "" + write);
        fields.put("perm", "" + perm);
        fields.put("topicFilterType", "SINGLE_TAG");
        fields.put("topicSysFlag", "0");
        fields.put("order", "" + order);
        ask(UPDATE_TOPIC, fields, null);
    }

    void createGroup(String json) throws Exception { ask(UPDATE_GROUP, null, json.getBytes(StandardCharsets.UTF_8)); }

    void commit(DefaultMQPullConsumer consumer, MessageQueue queue, long offset) throws Exception {
        consumer.getDefaultMQPullConsumerImpl().getOffsetStore().updateConsumeOffsetToBroker(queue, offset, false);
    }

    // ---- plain requests ----

    private Map<String, Map<String, Object>> table(int code, String name) throws Exception {
        RemotingCommand answer = ask(code, null, null);
        Map<?, ?> body = RemotingSerializable.decode(answer.getBody(), Map.class);
        Map<String, Map<String, Object>> table = new TreeMap<>();
        for (var entry : ((Map<?, ?>) body.get(name)).entrySet()) table.put(entry.getKey().toString(), fields((Map<?, ?>) entry.getValue()));
        return table;
    }

    private static Map<String, Object> fields(Map<?, ?> map) {
        Map<String, Object> sorted = new TreeMap<>();
        for (var entry : map.entrySet()) sorted.put(entry.getKey().toString(), entry.getValue() instanceof Map<?, ?> inner ? fields(inner) : entry.getValue());
        return sorted;
    }

    private RemotingCommand ask(int code, HashMap<String, String> fields, byte[] body) throws Exception {
        RemotingCommand request = RemotingCommand.createRequestCommand(code, null);
        if (fields != null) request.setExtFields(fields);
        request.setBody(body);
        RemotingCommand answer = client.getMQClientAPIImpl().getRemotingClient().invokeSync(broker, request, 10_000);
        if (answer.getCode() != 0) throw new IllegalStateException("request " + code + " was answered with " + answer.getCode() + ": " + answer.getRemark());
        return answer;
    }

    /** Asks until the answer is yes; a failure to ask counts as no. */
    static void eventually(String what, Callable<Boolean> ask) throws Exception {
        long end = System.currentTimeMillis() + PATIENCE_MS;
        Exception last = null;
        while (System.currentTimeMillis() < end) {
            try {
                if (ask.call()) return;
            } catch (Exception e) {
                last = e;
            }
            Thread.sleep(100);
        }
        throw new IllegalStateException("waited in vain for " + what, last);
    }

    @Override public void close() { puller.shutdown(); }
}
