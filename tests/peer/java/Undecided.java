import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Transactions that one broker leaves open and the next one has to see to; see ../transactions.
 *
 *   leave  NAMESRV BROKER GENERATION   half messages: some committed, some rolled back, some undecided
 *   settle NAMESRV BROKER GENERATION   decides on the undecided ones of all generations when the broker asks
 *
 * The exit status is 0 if all was as it must be; else the last line of the error output says what was not.
 */
public final class Undecided {
    private static final String TOPIC = "settled", GROUP = "tellers";
    private static final int EACH = 3;
    /** A 5.x broker notes what is done within three seconds; a check before that would be for what is known. */
    private static final long NOTES_MS = 4_000;

    private final Cluster cluster;
    private final int generation;
    private final ConcurrentLinkedQueue<String> asked = new ConcurrentLinkedQueue<>();

    private Undecided(Cluster cluster, int generation) {
        this.cluster = cluster;
        this.generation = generation;
    }

    public static void main(String[] args) {
        try (Cluster cluster = new Cluster(args[1], args[2])) {
            Undecided transactions = new Undecided(cluster, Integer.parseInt(args[3]));
            if (args[0].equals("leave")) transactions.leave(); else transactions.settle();
        } catch (Throwable e) {
            e.printStackTrace();
            System.err.println(e.getMessage() == null ? e : e.getMessage());
            System.exit(1);
        }
        System.exit(0);
    }

    private TransactionMQProducer producer(boolean decides) throws Exception {
        TransactionMQProducer producer = cluster.prepare(new TransactionMQProducer(GROUP));
        producer.setSendMsgTimeout(10_000);
        producer.setHeartbeatBrokerInterval(1_000);
        producer.setTransactionListener(new TransactionListener() {
            @Override public LocalTransactionState executeLocalTransaction(Message message, Object arg) {
                String body = new String(message.getBody());
                return body.startsWith("later") ? LocalTransactionState.UNKNOW : outcome(body);
            }

            @Override public LocalTransactionState checkLocalTransaction(MessageExt message) {
                String body = new String(message.getBody());
                if (decides) asked.add(body);
                return decides ? outcome(body) : LocalTransactionState.UNKNOW;
            }
        });
        producer.start();
        return producer;
    }

    private static LocalTransactionState outcome(String body) {
        return body.contains("commit") ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE;
    }

    private void leave() throws Exception {
        if (generation == 1) cluster.createTopic(TOPIC, 2, 2, 6, false);
        TransactionMQProducer producer = producer(false);
        for (int i = 0; i < EACH; i++)
            for (String what : List.of("commit", "rollback", "later commit", "later rollback"))
                producer.sendMessageInTransaction(new Message(TOPIC, "tx", (what + " " + generation + " " + i).getBytes()), null);
        long expected = 2L * EACH * (generation - 1) + EACH;
        Cluster.eventually("the committed messages", () -> cluster.count(TOPIC) == expected);
        Thread.sleep(NOTES_MS);
        producer.shutdown();
    }

    private void settle() throws Exception {
        TransactionMQProducer producer = producer(true);
        // Only brokers that it has sent to know a 5.x client that produces.
        producer.send(new Message("greetings", "hello".getBytes()));
        long expected = 2L * EACH * generation;
        Cluster.eventually("all that was decided", () -> cluster.count(TOPIC) >= expected && new TreeSet<>(asked).size() >= 2 * EACH);
        Thread.sleep(NOTES_MS);
        TreeMap<String, Integer> seen = new TreeMap<>();
        for (MessageQueue queue : cluster.queues(TOPIC))
            for (MessageExt message : cluster.read(queue, "*", cluster.min(queue))) seen.merge(new String(message.getBody()), 1, Integer::sum);
        producer.shutdown();
        List<String> wrong = new ArrayList<>();
        seen.forEach((body, times) -> { if (!body.contains("commit") || times > 1) wrong.add(body + " is seen " + times + " times"); });
        if (seen.size() != expected) wrong.add(seen.size() + " messages are seen, not " + expected);
        for (String body : asked) if (!body.startsWith("later") || !body.contains(" " + generation + " ")) wrong.add("was asked for although known: " + body);
        if (!wrong.isEmpty()) throw new IllegalStateException(String.join("; ", wrong));
    }
}
