// Writes the golden files with the classes of one version of the official client and broker; see README.md.
import java.io.*;
import java.net.*;
import java.nio.ByteBuffer;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;
import org.apache.rocketmq.common.*;
import org.apache.rocketmq.common.message.*;
import org.apache.rocketmq.remoting.protocol.*;
//P import PKG.header.*;
//P import PKG.header.namesrv.*;
//P import PKG.body.*;
//P import PKG.heartbeat.*;
//P import PKG.route.*;
//A import ADMIN.*;

public class Capture {
    static Path dir;
    static void save(String name, byte[] bytes) throws Exception { Files.write(dir.resolve(name), bytes); }
    static byte[] bytes(ByteBuffer b) { byte[] a = new byte[b.remaining()]; b.get(a); return a; }
    static void frame(String name, RemotingCommand c) throws Exception {
        c.setOpaque(12345);
        c.setSerializeTypeCurrentRPC(SerializeType.JSON);
        save(name + ".json.frame", bytes(c.encode()));
        c.setSerializeTypeCurrentRPC(SerializeType.ROCKETMQ);
        save(name + ".binary.frame", bytes(c.encode()));
    }
    static SendMessageRequestHeader send(String properties, boolean batch) {
        SendMessageRequestHeader h = new SendMessageRequestHeader();
        h.setProducerGroup("producers"); h.setTopic("golden"); h.setDefaultTopic("TBW102"); h.setDefaultTopicQueueNums(4);
        h.setQueueId(2); h.setSysFlag(0); h.setBornTimestamp(1700000000000L); h.setFlag(7); h.setProperties(properties);
        h.setReconsumeTimes(0); h.setUnitMode(false); h.setBatch(batch);
        return h;
    }
    public static void main(String[] args) throws Exception {
        dir = Paths.get(args[0]); Files.createDirectories(dir);
        Message m = new Message("golden", "TagA", "order-1 \u00e9\ud83d\ude00", 7, "body \u00e9\ud83d\ude00".getBytes("UTF-8"), true);
        m.putUserProperty("quoted", "a \"b\" \\ c / d\n\t");
        MessageAccessor.putProperty(m, "UNIQ_KEY", "7F00000100002A9F18B4AAC20F8A0001");
        String properties = MessageDecoder.messageProperties2String(m.getProperties());

        RemotingCommand c = RemotingCommand.createRequestCommand(310, SendMessageRequestHeaderV2.createSendMessageRequestHeaderV2(send(properties, false)));
        c.setBody(m.getBody()); frame("send_v2", c);
        c = RemotingCommand.createRequestCommand(10, send(properties, false)); c.setBody(m.getBody()); frame("send_v1", c);
        List<Message> list = new ArrayList<>();
        for (int i = 0; i < 3; i++) { Message one = new Message("golden", "TagA", "k" + i, ("body " + i).getBytes()); one.setFlag(i); list.add(one); }
        c = RemotingCommand.createRequestCommand(320, SendMessageRequestHeaderV2.createSendMessageRequestHeaderV2(send("", true)));
        c.setBody(MessageDecoder.encodeMessages(list)); frame("send_batch", c);

        PullMessageRequestHeader p = new PullMessageRequestHeader();
        p.setConsumerGroup("consumers"); p.setTopic("golden"); p.setQueueId(2); p.setQueueOffset(41L); p.setMaxMsgNums(32); p.setSysFlag(3);
        p.setCommitOffset(40L); p.setSuspendTimeoutMillis(15000L); p.setSubscription("TagA || TagB"); p.setSubVersion(1700000000000L); p.setExpressionType("TAG");
        frame("pull", RemotingCommand.createRequestCommand(11, p));

        QueryConsumerOffsetRequestHeader q = new QueryConsumerOffsetRequestHeader();
        q.setConsumerGroup("consumers"); q.setTopic("golden"); q.setQueueId(2);
        frame("query_offset", RemotingCommand.createRequestCommand(14, q));

        HeartbeatData hb = new HeartbeatData();
        hb.setClientID("10.0.0.1@1234");
        ProducerData pd = new ProducerData(); pd.setGroupName("producers"); hb.getProducerDataSet().add(pd);
        ConsumerData cd = new ConsumerData(); cd.setGroupName("consumers");
        cd.setConsumeType(ConsumeType.CONSUME_PASSIVELY); cd.setMessageModel(MessageModel.CLUSTERING);
        cd.setConsumeFromWhere(org.apache.rocketmq.common.consumer.ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        SubscriptionData sd = new SubscriptionData("golden", "TagA || TagB"); sd.setSubVersion(1700000000000L);
        sd.getTagsSet().add("TagA"); sd.getTagsSet().add("TagB"); sd.getCodeSet().add("TagA".hashCode()); sd.getCodeSet().add("TagB".hashCode());
        cd.getSubscriptionDataSet().add(sd); hb.getConsumerDataSet().add(cd);
        c = RemotingCommand.createRequestCommand(34, null); c.setBody(hb.encode()); frame("heartbeat", c);

        c = RemotingCommand.createResponseCommand(17, "No topic route info in name server for the topic: golden\nSee http://x/y for \"details\".");
        c.setFlag(1); frame("not_found", c);
        SendMessageResponseHeader sr = new SendMessageResponseHeader();
        sr.setMsgId("0A00000100002A9F0000000000001234"); sr.setQueueId(2); sr.setQueueOffset(41L); sr.setTransactionId("7F00000100002A9F18B4AAC20F8A0001");
        c = RemotingCommand.createResponseCommand(SendMessageResponseHeader.class);
        java.lang.reflect.Field f = RemotingCommand.class.getDeclaredField("customHeader"); f.setAccessible(true); f.set(c, sr);
        c.setCode(0); c.setRemark(null); c.addExtField("MSG_REGION", "DefaultRegion"); c.addExtField("TRACE_ON", "true");
        c.markResponseType(); frame("send_response", c);

        RegisterBrokerBody body = new RegisterBrokerBody();
        TopicConfigSerializeWrapper w;
//X        w = body.getTopicConfigSerializeWrapper();
//Y        w = body.getTopicConfigSerializeWrapper();
        TopicConfig t = new TopicConfig("golden"); t.setReadQueueNums(8); t.setWriteQueueNums(4); t.setPerm(6);
//Y        t.getAttributes().put("message.type", "NORMAL");
        w.getTopicConfigTable().put("golden", t); w.getTopicConfigTable().put("other", new TopicConfig("other"));
        w.getDataVersion().setTimestamp(1700000000000L); w.getDataVersion().setCounter(new java.util.concurrent.atomic.AtomicLong(5));
        body.setFilterServerList(new ArrayList<String>());
        save("register.json", RemotingSerializable.encode(body));
//X        save("register.zlib", body.encode(true));
//Y        save("register.zlib", body.encode(true));

        TopicRouteData r = new TopicRouteData();
        BrokerData bd = new BrokerData(); bd.setCluster("DefaultCluster"); bd.setBrokerName("broker-a");
        HashMap<Long, String> addrs = new HashMap<>(); addrs.put(0L, "10.0.0.1:10911"); addrs.put(1L, "10.0.0.2:10911"); bd.setBrokerAddrs(addrs);
        r.setBrokerDatas(new ArrayList<BrokerData>()); r.getBrokerDatas().add(bd);
        QueueData qd = new QueueData(); qd.setBrokerName("broker-a"); qd.setPerm(6); qd.setReadQueueNums(8); qd.setWriteQueueNums(8);
        r.setQueueDatas(new ArrayList<QueueData>()); r.getQueueDatas().add(qd);
        r.setFilterServerTable(new HashMap<String, List<String>>());
        save("route.json", RemotingSerializable.encode(r));

        ConsumeStats cs = new ConsumeStats(); cs.setConsumeTps(1.5);
        for (int i = 0; i < 2; i++) { OffsetWrapper ow = new OffsetWrapper(); ow.setBrokerOffset(100 + i); ow.setConsumerOffset(50 + i); ow.setLastTimestamp(1700000000000L);
            cs.getOffsetTable().put(new MessageQueue("golden", "broker-a", i), ow); }
        save("consume_stats.json", RemotingSerializable.encode(cs));
        ResetOffsetBody ro = new ResetOffsetBody(); HashMap<MessageQueue, Long> ot = new HashMap<>();
        ot.put(new MessageQueue("golden", "broker-a", 0), 12L); ot.put(new MessageQueue("golden", "broker-a", 1), 345L); ro.setOffsetTable(ot);
        save("reset_offset.json", RemotingSerializable.encode(ro));
        Map<String, Object> wrap = new HashMap<>(); ConcurrentHashMap<Integer, Long> inner = new ConcurrentHashMap<>(); inner.put(0, 12L); inner.put(1, 345L);
        Map<String, Object> table = new HashMap<>(); table.put("golden@consumers", inner); wrap.put("offsetTable", table);
        save("consumer_offset.json", RemotingSerializable.toJson(wrap, true).getBytes("UTF-8"));

        for (String hosts : new String[] {"10.1.2.3 10.1.2.4", "2001:db8::1 10.1.2.4", "2001:db8::1 2001:db8::2"}) {
            MessageExt e = new MessageExt();
            e.setTopic("golden"); e.setBody(m.getBody()); e.setFlag(7); e.setQueueId(2); e.setQueueOffset(41); e.setCommitLogOffset(0x1234);
            int flag = 0; String[] h = hosts.split(" ");
            if (h[0].contains(":")) flag |= 0x10; if (h[1].contains(":")) flag |= 0x20;
            e.setSysFlag(flag); e.setBornTimestamp(1700000000000L); e.setStoreTimestamp(1700000000005L);
            e.setBornHost(new InetSocketAddress(InetAddress.getByName(h[0]), 54321)); e.setStoreHost(new InetSocketAddress(InetAddress.getByName(h[1]), 10911));
            e.setReconsumeTimes(1); e.setPreparedTransactionOffset(99); e.setBodyCRC(UtilAll.crc32(e.getBody()));
            for (Map.Entry<String, String> entry : new TreeMap<>(m.getProperties()).entrySet()) MessageAccessor.putProperty(e, entry.getKey(), entry.getValue());
            String name = "record_" + (h[0].contains(":") ? "v6" : "v4") + "_" + (h[1].contains(":") ? "v6" : "v4");
            boolean v6ok = true;
            try { save(name + ".bin", MessageDecoder.encode(e, false)); } catch (Throwable x) { System.err.println(name + " " + x); v6ok = false; }
            if (v6ok) { ByteBuffer id = ByteBuffer.allocate(h[1].contains(":") ? 28 : 16);
              save(name + ".id", MessageDecoder.createMessageId(new InetSocketAddress(InetAddress.getByName(h[1]), 10911), 0x1234).getBytes()); }
        }
        StringBuilder hashes = new StringBuilder();
        for (String s : new String[] {"", "TagA", "polygenelubricants", "\u00e9\ud83d\ude00", "a much longer tag with blanks"}) hashes.append(s.hashCode()).append(' ').append(s).append('\n');
        save("tag_hashes.txt", hashes.toString().getBytes("UTF-8"));
    }
}
