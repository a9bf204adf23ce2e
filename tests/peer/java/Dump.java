import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.message.MessageClientExt;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** All that clients can see of a broker's store, as text that can be compared line by line. */
final class Dump {
    /** Made by brokers themselves, and differently by each version. */
    private static final Pattern SYSTEM_TOPIC = Pattern.compile("SELF_TEST_TOPIC|TBW102|BenchmarkTest|DefaultCluster.*|broker-a|OFFSET_MOVED_EVENT|SCHEDULE_TOPIC_XXXX|RMQ_SYS_.*|rmq_sys_.*|TRANS_CHECK_MAX_TIME_TOPIC");
    private static final Pattern SYSTEM_GROUP = Pattern.compile("TOOLS_CONSUMER|FILTERSRV_CONSUMER|SELF_TEST_C_GROUP|CID_.*");
    /** The traces of this program itself. */
    private static final Pattern OWN = Pattern.compile(".*dump-.*");
    private static final int READ = 4;
    /** Which messages are looked up singly. */
    private static final int EVERY = 10;
    /** Messages whose entries fill a file of a queue; see the setting of the file's size in ../takeover. */
    private static final int QUEUE_FILE = 100;
    /** What 5.x and gantry have and 4.x does not, as long as nobody sets it. */
    private static final Map<String, String> DEFAULTS = Map.of("attributes", "{}", "consumeMessageOrderly", "false", "consumeTimeoutMinute", "15",
        "groupRetryPolicy", "{type=CUSTOMIZED}", "groupSysFlag", "0");
    private static final List<String> TAGS = List.of("TagA", "Größe", "😀tag", "TagA || Größe");

    private final Cluster cluster;
    private final Path dir;

    Dump(Cluster cluster, Path dir) {
        this.cluster = cluster;
        this.dir = dir;
    }

    void run(boolean keys, boolean exact) throws Exception {
        Files.createDirectories(dir.resolve("messages"));
        Files.createDirectories(dir.resolve("moving"));
        Map<String, Map<String, Object>> topics = cluster.topics();
        configs("topics", "system-topics", topics, SYSTEM_TOPIC);
        configs("groups", "system-groups", cluster.groups(), SYSTEM_GROUP);
        offsets();
        try (PrintWriter ranges = file("ranges"); PrintWriter tags = file("tags"); PrintWriter ids = file("ids");
             PrintWriter times = file("times"); PrintWriter keyed = file("keys"); PrintWriter receipts = file("receipts")) {
            for (String topic : topics.keySet()) {
                if (OWN.matcher(topic).matches() || topic.equals("SCHEDULE_TOPIC_XXXX") || SYSTEM_TOPIC.matcher(topic).matches()) continue;
                boolean readable = ((Integer) topics.get(topic).get("perm") & READ) != 0; // dead letters of 4.3.2 are not
                for (MessageQueue queue : cluster.queues(topic)) {
                    List<MessageExt> messages = readable ? messages(queue, receipts) : List.of();
                    if (moves(topic)) continue;
                    range(queue, ranges);
                    tags(queue, tags);
                    ids(messages, ids);
                    times(queue, messages, exact, times);
                    if (keys) keys(queue, messages, keyed);
                }
            }
            if (topics.containsKey("SCHEDULE_TOPIC_XXXX")) for (int level = 0; level < 3; level++) messages(cluster.queue("SCHEDULE_TOPIC_XXXX", level), receipts);
        }
    }

    /** Whether delayed messages may be arriving there at any time. */
    private static boolean moves(String topic) { return topic.equals("later") || topic.startsWith("%RETRY%") || topic.equals("SCHEDULE_TOPIC_XXXX"); }

    private PrintWriter file(String name) throws Exception { return new PrintWriter(Files.newBufferedWriter(dir.resolve(name))); }

    private void configs(String users, String systems, Map<String, Map<String, Object>> table, Pattern system) throws Exception {
        try (PrintWriter user = file(users); PrintWriter other = file(systems)) {
            for (var entry : table.entrySet()) {
                if (OWN.matcher(entry.getKey()).matches()) continue;
                DEFAULTS.forEach((field, value) -> {
                    if (value.equals(String.valueOf(entry.getValue().get(field)))) entry.getValue().remove(field);
                });
                (system.matcher(entry.getKey()).matches() ? other : user).println(entry.getKey() + " " + entry.getValue());
            }
        }
    }

    private void offsets() throws Exception {
        try (PrintWriter out = file("offsets")) {
            for (var entry : cluster.offsets().entrySet()) {
                String group = entry.getKey().substring(entry.getKey().indexOf('@') + 1);
                if (!OWN.matcher(entry.getKey()).matches() && !SYSTEM_GROUP.matcher(group).matches()) out.println(entry.getKey() + " " + entry.getValue());
            }
        }
    }

    /** Writes a queue's messages to a file of its own. */
    private List<MessageExt> messages(MessageQueue queue, PrintWriter receipts) throws Exception {
        List<MessageExt> messages = cluster.read(queue, "*", cluster.min(queue));
        String folder = moves(queue.getTopic()) ? "moving" : "messages";
        if (messages.isEmpty()) return messages;
        try (PrintWriter out = file(folder + "/" + queue.getTopic() + "-" + queue.getQueueId())) {
            for (MessageExt message : messages) {
                out.println(text(message));
                receipts.println(receipt(message.getTopic(), message.getQueueId(), message.getQueueOffset(), message.getMsgId(), offsetId(message)));
            }
        }
        return messages;
    }

    static String receipt(String topic, int queue, long offset, String id, String offsetId) { return topic + " " + queue + " " + offset + " " + id + " " + offsetId; }

    private static String offsetId(MessageExt message) { return ((MessageClientExt) message).getOffsetMsgId(); }

    private static String text(MessageExt message) throws Exception {
        Map<String, String> properties = new TreeMap<>(message.getProperties());
        properties.keySet().removeAll(List.of("MIN_OFFSET", "MAX_OFFSET")); // the client's own, of the answer
        byte[] digest = MessageDigest.getInstance("SHA-256").digest(message.getBody());
        StringBuilder hex = new StringBuilder();
        for (int i = 0; i < 12; i++) hex.append(String.format("%02x", digest[i]));
        return "offset=" + message.getQueueOffset() + " id=" + message.getMsgId() + " at=" + offsetId(message) + " physical=" + message.getCommitLogOffset()
            + " size=" + message.getStoreSize() + " sysFlag=" + message.getSysFlag() + " flag=" + message.getFlag()
            + " born=" + message.getBornTimestamp() + "@" + message.getBornHost() + " stored=" + message.getStoreTimestamp() + "@" + message.getStoreHost()
            + " reconsumed=" + message.getReconsumeTimes() + " prepared=" + message.getPreparedTransactionOffset()
            + " body=" + message.getBody().length + ":" + hex + ":" + message.getBodyCRC() + " tags=" + message.getTags() + " keys=" + message.getKeys() + " " + properties;
    }

    private void range(MessageQueue queue, PrintWriter out) throws Exception {
        String earliest = cluster.max(queue) == 0 ? "" : " since " + cluster.admin().earliestMsgStoreTime(queue);
        out.println(name(queue) + " " + cluster.min(queue) + " to " + cluster.max(queue) + earliest);
    }

    private static String name(MessageQueue queue) { return queue.getTopic() + "-" + queue.getQueueId(); }

    private void tags(MessageQueue queue, PrintWriter out) throws Exception {
        if (!queue.getTopic().equals("orders")) return;
        for (String tags : TAGS)
            out.println(name(queue) + " [" + tags + "] " + cluster.read(queue, tags, cluster.min(queue)).stream().map(MessageExt::getQueueOffset).collect(Collectors.toList()));
    }

    /** By the message id that the broker answered. */
    private void ids(List<MessageExt> messages, PrintWriter out) throws Exception {
        for (int i = 0; i < messages.size(); i += EVERY) out.println(offsetId(messages.get(i)) + " " + text(view(messages.get(i))));
    }

    private MessageExt view(MessageExt message) throws Exception {
        try {
            return (MessageExt) cluster.admin().getClass().getMethod("viewMessage", String.class, String.class).invoke(cluster.admin(), message.getTopic(), offsetId(message));
        } catch (NoSuchMethodException e) { // 4.x does not want the topic
            return (MessageExt) cluster.admin().getClass().getMethod("viewMessage", String.class).invoke(cluster.admin(), offsetId(message));
        }
    }

    /**
     * By store time: that of one message alone leads to it. A 4.x broker chooses the queue's file by the file's time of change and may
     * be led astray by it, so it is only asked where there is one file; and it answers differently beyond the ends.
     */
    private void times(MessageQueue queue, List<MessageExt> messages, boolean exact, PrintWriter out) throws Exception {
        if (messages.isEmpty() || !exact && messages.size() > QUEUE_FILE) return;
        for (int i = 1; i < messages.size() - 1; i += EVERY - 1) {
            long time = messages.get(i).getStoreTimestamp();
            if (messages.get(i - 1).getStoreTimestamp() == time || messages.get(i + 1).getStoreTimestamp() == time) continue;
            long found = cluster.admin().searchOffset(queue, time);
            out.println(name(queue) + " at " + time + " " + found + (found == i ? "" : " although it is the time of " + i));
        }
        if (!exact) return;
        long first = messages.get(0).getStoreTimestamp(), last = messages.get(messages.size() - 1).getStoreTimestamp();
        out.println(name(queue) + " before " + cluster.admin().searchOffset(queue, first - 1000) + " after " + cluster.admin().searchOffset(queue, last + 1000));
    }

    /** By key, by unique key, and by a key that many messages have. */
    private void keys(MessageQueue queue, List<MessageExt> messages, PrintWriter out) throws Exception {
        for (int i = 0; i < messages.size(); i += EVERY) {
            MessageExt message = messages.get(i);
            if (message.getKeys() != null) for (String key : message.getKeys().split(" ")) out.println(queue.getTopic() + " [" + key + "] " + keyed(queue.getTopic(), key));
            if (message.getProperty("UNIQ_KEY") == null) continue;
            MessageExt found = cluster.admin().queryMessageByUniqKey(queue.getTopic(), message.getMsgId());
            out.println(queue.getTopic() + " [" + message.getMsgId() + "] " + (found == null ? "none" : text(found)));
        }
    }

    private String keyed(String topic, String key) throws Exception {
        try {
            return cluster.admin().queryMessage(topic, key, 64, 0, System.currentTimeMillis() + 86_400_000L).getMessageList().stream()
                .map(MessageExt::getCommitLogOffset).sorted().collect(Collectors.toList()).toString();
        } catch (MQClientException e) {
            return "none: " + e.getErrorMessage();
        }
    }
}
