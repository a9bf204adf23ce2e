import java.util.HashSet;
import java.util.Set;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Delayed messages that were pending: they arrive when they are due, each once. */
final class Arrive {
    private static final long SETTLE_MS = 1500;

    static void run(Cluster cluster, String topic, int count, long delayMs) throws Exception {
        long end = System.currentTimeMillis() + delayMs + 30_000;
        while (cluster.count(topic) < count && System.currentTimeMillis() < end) Thread.sleep(200);
        Thread.sleep(SETTLE_MS);
        Set<String> seen = new HashSet<>();
        int arrived = 0;
        for (MessageQueue queue : cluster.queues(topic)) {
            for (MessageExt message : cluster.read(queue, "*", cluster.min(queue))) {
                arrived++;
                String delay = message.getProperty("takeover-delay-ms");
                if (delay != null && message.getStoreTimestamp() < message.getBornTimestamp() + Long.parseLong(delay))
                    throw new IllegalStateException("too early in " + topic + ": " + message);
                if (!seen.add(message.getMsgId() + message.getReconsumeTimes())) throw new IllegalStateException("twice in " + topic + ": " + message);
            }
        }
        if (arrived != count) throw new IllegalStateException(arrived + " messages are in " + topic + ", not " + count);
    }
}
