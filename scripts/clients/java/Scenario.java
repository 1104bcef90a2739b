import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The scenario of every client with the official Java client. */
public final class Scenario {
    private static final int PARTITIONS = 3;
    private static final long WAIT_MS = 40_000;
    private static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");

    private record Pair(String key, String value) {}

    private record Place(int partition, long offset) {}

    private interface Step {
        String play() throws Exception;
    }

    private final String bootstrap;
    private final String name;
    private final List<Pair> lines = new ArrayList<>();
    private final Admin admin;
    private int produced;

    private Scenario(String bootstrap, String input, String name) throws Exception {
        this.bootstrap = bootstrap;
        this.name = name;
        for (String line : Files.readAllLines(Path.of(input))) {
            String[] parts = line.split("\t", 2);
            lines.add(new Pair(parts[0], parts[1]));
        }
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap, "default.api.timeout.ms", 30000));
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> given = new HashMap<>();
        for (int i = 0; i + 1 < arguments.length; i += 2) {
            given.put(arguments[i], arguments[i + 1]);
        }
        java.util.Properties version = new java.util.Properties();
        version.load(Admin.class.getResourceAsStream("/kafka/kafka-version.properties"));
        System.out.println("kafka-clients " + version.getProperty("version"));
        Scenario scenario = new Scenario(given.get("--bootstrap"), given.get("--input"), given.get("--name"));
        int code = scenario.run();
        System.out.flush();
        Runtime.getRuntime().halt(code);
    }

    private int run() {
        Map<String, Step> steps = new java.util.LinkedHashMap<>();
        steps.put("create-topic", this::createTopic);
        steps.put("codecs-and-acks", this::codecsAndAcks);
        steps.put("group", this::group);
        steps.put("timestamps", this::timestamps);
        steps.put("headers", this::headers);
        steps.put("sizes", this::sizes);
        steps.put("too-large", this::tooLarge);
        steps.put("kill", this::kill);
        for (Map.Entry<String, Step> step : steps.entrySet()) {
            long started = System.nanoTime();
            try {
                String said = step.getValue().play();
                System.out.printf("ok %s: %s (%.1f s)%n", step.getKey(), said, (System.nanoTime() - started) / 1e9);
            } catch (Throwable error) {
                error.printStackTrace();
                System.out.println("FAIL " + step.getKey() + ": " + String.valueOf(error).replace('\n', ' '));
                return 1;
            }
        }
        System.out.println("DONE");
        return 0;
    }

    private String createTopic() throws Exception {
        create("log", PARTITIONS);
        int size = admin.describeTopics(List.of(topic("log"))).allTopicNames().get().get(topic("log")).partitions().size();
        check(size == PARTITIONS, "the topic has " + size + " partitions");
        return PARTITIONS + " partitions";
    }

    private String codecsAndAcks() throws Exception {
        List<Pair> wanted = new ArrayList<>();
        int share = lines.size() / (CODECS.size() * 3);
        int at = 0;
        for (String codec : CODECS) {
            // acks=0 comes last: a broker may still be making the topic, and nobody would be told.
            for (String acks : List.of("all", "1", "0")) {
                List<Pair> part = lines.subList(at, at + share);
                at += share;
                wanted.addAll(part);
                produce("log", part, Map.of("compression.type", codec, "acks", acks, "enable.idempotence", acks.equals("all")));
                // Nobody says when acks=0 is there, and the next producer has another connection.
                until(() -> ends("log", PARTITIONS) == wanted.size(), wanted.size() + " records after acks=" + acks);
            }
        }
        produced = wanted.size();
        List<ConsumerRecord<byte[], byte[]>> read = readAll("log", PARTITIONS, wanted.size());
        Map<Integer, Long> next = new HashMap<>();
        Map<String, List<String>> found = new HashMap<>();
        Map<String, Set<Integer>> homes = new HashMap<>();
        for (ConsumerRecord<byte[], byte[]> record : read) {
            long expected = next.getOrDefault(record.partition(), 0L);
            check(record.offset() == expected, "offset " + record.offset() + " where " + expected + " comes next");
            next.put(record.partition(), expected + 1);
            found.computeIfAbsent(text(record.key()), key -> new ArrayList<>()).add(text(record.value()));
            homes.computeIfAbsent(text(record.key()), key -> new HashSet<>()).add(record.partition());
        }
        Map<String, List<String>> order = new HashMap<>();
        for (Pair pair : wanted) {
            order.computeIfAbsent(pair.key, key -> new ArrayList<>()).add(pair.value);
        }
        check(found.equals(order), "what was read is not what was produced, in order for each key");
        check(homes.values().stream().allMatch(home -> home.size() == 1), "a key is in two partitions");
        return wanted.size() + " records, codecs " + String.join(" ", CODECS) + ", acks 0 1 all";
    }

    private String group() throws Exception {
        String group = name + "-group";
        Map<Place, Pair> seen = new HashMap<>();
        Member first = new Member(group, "log");
        Member second = new Member(group, "log");
        until(() -> {
            first.takeTo(seen);
            second.takeTo(seen);
            return first.assigned.size() + second.assigned.size() == PARTITIONS && !first.assigned.isEmpty()
                && !second.assigned.isEmpty() && seen.size() >= produced;
        }, "both members to share the partitions and read everything");
        Set<Integer> both = new HashSet<>(first.assigned);
        both.retainAll(second.assigned);
        check(both.isEmpty(), "both members have the same partition");
        second.commit();
        first.close();
        until(() -> {
            second.takeTo(seen);
            return second.assigned.size() == PARTITIONS;
        }, "the second member to take over");
        check(seen.size() == produced, "the group read " + seen.size() + " of " + produced);
        List<Pair> more = marked("after the takeover: ", 0, 200);
        produce("log", more, Map.of("compression.type", "zstd"));
        expectNext(second, more, "after the takeover");
        second.close();
        List<Pair> again = marked("after the resume: ", 200, 300);
        produce("log", again, Map.of("compression.type", "none"));
        Member third = new Member(group, "log");
        expectNext(third, again, "after the resume");
        third.close();
        produced += more.size() + again.size();
        long committed = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().values().stream()
            .mapToLong(offset -> offset.offset()).sum();
        check(committed == produced, "the admin client sees " + committed + " committed, not " + produced);
        return "two members, a takeover, a resume from what was committed";
    }

    private void expectNext(Member member, List<Pair> wanted, String when) throws Exception {
        Map<Place, Pair> got = new HashMap<>();
        until(() -> {
            member.takeTo(got);
            return got.size() >= wanted.size();
        }, "the records " + when);
        check(counted(got.values()).equals(counted(wanted)), when + " the member read something else than what comes next");
    }

    private List<Pair> marked(String mark, int from, int to) {
        return lines.subList(from, to).stream().map(pair -> new Pair(pair.key, mark + pair.value)).toList();
    }

    private String timestamps() throws Exception {
        create("times", 1);
        long base = System.currentTimeMillis() - 3_600_000;
        TopicPartition place = new TopicPartition(topic("times"), 0);
        for (int chunk = 0; chunk < 5; chunk++) {
            try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("compression.type", CODECS.get(chunk)))) {
                List<Future<RecordMetadata>> sent = new ArrayList<>();
                for (int i = chunk * 100; i < chunk * 100 + 100; i++) {
                    Pair pair = lines.get(i);
                    sent.add(producer.send(
                        new ProducerRecord<>(place.topic(), 0, base + i * 1000L, bytes(pair.key), bytes(pair.value))));
                }
                all(sent);
            }
        }
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of())) {
            for (int wanted : new int[] {0, 1, 137, 250, 499}) {
                for (int early : new int[] {0, 999}) {
                    long target = base + wanted * 1000L - early;
                    OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(place, target)).get(place);
                    check(found != null && found.offset() == wanted && found.timestamp() == base + wanted * 1000L,
                        "time of " + wanted + " - " + early + " ms is " + found);
                }
            }
            check(consumer.offsetsForTimes(Map.of(place, base + 10_000_000)).get(place) == null, "a time after the end");
            check(consumer.endOffsets(List.of(place)).get(place) == 500, "the end is not 500");
            check(consumer.beginningOffsets(List.of(place)).get(place) == 0, "the beginning is not 0");
        }
        ConsumerRecord<byte[], byte[]> record = read("times", 0, 250, 1).get(0);
        check(record.timestamp() == base + 250_000 && text(record.value()).equals(lines.get(250).value), "offset 250: " + record);
        return "exact offsets for 10 times, inside compressed batches too";
    }

    private String headers() throws Exception {
        create("headers", 1);
        List<Header> headers = List.of(new RecordHeader("trace", bytes("one")), new RecordHeader("trace", bytes("two")),
            new RecordHeader("empty", new byte[0]), new RecordHeader("nothing", (byte[]) null),
            new RecordHeader("ümlaut", bytes("größe")));
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            producer.send(new ProducerRecord<>(topic("headers"), 0, bytes("k"), bytes("v"), headers)).get();
        }
        Header[] back = read("headers", 0, 0, 1).get(0).headers().toArray();
        check(Arrays.asList(back).equals(headers), "the headers came back as " + Arrays.toString(back));
        return "duplicate keys and null values";
    }

    private String sizes() throws Exception {
        create("sizes", 1);
        byte[] large = mixed(900 * 1024);
        List<byte[][]> wanted = new ArrayList<>(List.of(new byte[][] {bytes("empty"), new byte[0]},
            new byte[][] {bytes("null"), null}, new byte[][] {null, bytes("no key")}));
        for (String codec : CODECS) {
            wanted.add(new byte[][] {bytes(codec), large});
        }
        for (byte[][] pair : wanted) {
            String codec = pair[0] != null && CODECS.contains(text(pair[0])) ? text(pair[0]) : "none";
            try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("compression.type", codec))) {
                producer.send(new ProducerRecord<>(topic("sizes"), 0, pair[0], pair[1])).get();
            }
        }
        List<ConsumerRecord<byte[], byte[]>> read = read("sizes", 0, 0, wanted.size());
        for (int i = 0; i < wanted.size(); i++) {
            check(Arrays.equals(read.get(i).key(), wanted.get(i)[0]) && Arrays.equals(read.get(i).value(), wanted.get(i)[1]),
                "record " + i + " came back as something else");
        }
        return "an empty value, a null value, a null key, 900 KiB with each codec";
    }

    private String tooLarge() throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            try {
                producer.send(new ProducerRecord<>(topic("sizes"), 0, bytes("too large"), mixed(2 * 1024 * 1024))).get();
                throw new AssertionError("a record of 2 MiB was taken");
            } catch (ExecutionException refused) {
                check(refused.getCause() instanceof RecordTooLargeException, "2 MiB were refused with " + refused.getCause());
            }
            producer.send(new ProducerRecord<>(topic("sizes"), 0, bytes("after"), bytes("still works"))).get();
        }
        return "refused with MESSAGE_TOO_LARGE, the next one taken";
    }

    private String kill() throws Exception {
        create("kill", PARTITIONS);
        String group = name + "-kill-group";
        Map<Place, Pair> acked = new ConcurrentHashMap<>();
        Map<Place, Pair> seen = new ConcurrentHashMap<>();
        AtomicBoolean restarted = new AtomicBoolean();
        Thread listener = new Thread(() -> {
            try {
                BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
                restarted.set("RESTARTED".equals(in.readLine()));
            } catch (java.io.IOException error) {
                error.printStackTrace();
            }
        });
        listener.setDaemon(true);
        listener.start();
        int number = 0;
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("compression.type", "lz4", "linger.ms", 5))) {
            Member member = new Member(group, "kill");
            int after = 0;
            long end = System.currentTimeMillis() + 60_000;
            while (after < 10) {
                Map<Pair, Future<RecordMetadata>> sent = new HashMap<>();
                for (int i = 0; i < 100; i++, number++) {
                    Pair line = lines.get(number % lines.size());
                    Pair pair = new Pair(line.key, number + " " + line.value);
                    sent.put(pair, producer.send(new ProducerRecord<>(topic("kill"), bytes(pair.key), bytes(pair.value))));
                    if (number == 1050) {
                        System.out.println("READY-FOR-KILL");
                    }
                }
                for (Map.Entry<Pair, Future<RecordMetadata>> one : sent.entrySet()) {
                    RecordMetadata at = one.getValue().get(WAIT_MS, TimeUnit.MILLISECONDS);
                    acked.put(new Place(at.partition(), at.offset()), one.getKey());
                }
                member.takeTo(seen);
                if (!seen.isEmpty() && after == 0) {
                    member.commit();
                }
                after += restarted.get() ? 1 : 0;
                check(System.currentTimeMillis() < end, "60 s were not enough for the kill");
            }
            Map<Place, Pair> there = new HashMap<>();
            for (ConsumerRecord<byte[], byte[]> record : readAll("kill", PARTITIONS, acked.size())) {
                there.put(new Place(record.partition(), record.offset()), pair(record));
            }
            for (Map.Entry<Place, Pair> one : acked.entrySet()) {
                check(one.getValue().equals(there.get(one.getKey())),
                    "acked at " + one.getKey() + ", but there is " + there.get(one.getKey()));
            }
            check(new HashSet<>(there.values()).size() == there.size(), "an idempotent producer's record is there twice");
            until(() -> {
                member.takeTo(seen);
                return seen.size() >= there.size();
            }, "the group to go on after the restart");
            check(seen.equals(there), "the group read something else than what is there");
            member.close();
            List<Pair> extra = marked("after all: ", 0, 50);
            produce("kill", extra, Map.of());
            Member last = new Member(group, "kill");
            expectNext(last, extra, "after a new member joined");
            last.close();
        }
        return number + " acked around the kill, all there; the group went on and resumed";
    }

    /** A member of a group in a thread of its own, as members are. It commits when asked and when it leaves. */
    private final class Member {
        private final Map<Place, Pair> read = new HashMap<>();
        private volatile Set<Integer> assigned = Set.of();
        private volatile boolean leave;
        private final java.util.concurrent.Semaphore asked = new java.util.concurrent.Semaphore(0);
        private final java.util.concurrent.Semaphore done = new java.util.concurrent.Semaphore(0);
        private volatile Throwable problem;
        private final Thread thread;

        Member(String group, String of) {
            thread = new Thread(() -> {
                try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of("group.id", group))) {
                    consumer.subscribe(List.of(topic(of)));
                    while (!leave) {
                        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                            synchronized (read) {
                                read.put(new Place(record.partition(), record.offset()), pair(record));
                            }
                        }
                        Set<Integer> mine = new HashSet<>();
                        consumer.assignment().forEach(place -> mine.add(place.partition()));
                        assigned = mine;
                        if (asked.tryAcquire()) {
                            consumer.commitSync(Duration.ofSeconds(30));
                            done.release();
                        }
                    }
                    consumer.commitSync(Duration.ofSeconds(30));
                } catch (Throwable error) {
                    error.printStackTrace();
                    problem = error;
                }
            });
            thread.setDaemon(true);
            thread.start();
        }

        void takeTo(Map<Place, Pair> sink) {
            check(problem == null, "a member ended with " + problem);
            synchronized (read) {
                sink.putAll(read);
                read.clear();
            }
        }

        void commit() throws Exception {
            asked.release();
            check(done.tryAcquire(WAIT_MS, TimeUnit.MILLISECONDS), "no commit, " + problem);
        }

        void close() throws Exception {
            leave = true;
            thread.join(WAIT_MS);
            check(problem == null && !thread.isAlive(), "a member could not leave: " + problem);
        }
    }

    private String topic(String of) {
        return name + "-" + of;
    }

    private void create(String of, int partitions) throws Exception {
        admin.createTopics(List.of(new NewTopic(topic(of), Optional.of(partitions), Optional.empty()))).all().get();
    }

    private KafkaProducer<byte[], byte[]> producer(Map<String, Object> extra) {
        Map<String, Object> settings = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "delivery.timeout.ms", 40000,
            "request.timeout.ms", 20000, "max.request.size", 4 * 1024 * 1024));
        settings.putAll(extra);
        return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private KafkaConsumer<byte[], byte[]> consumer(Map<String, Object> extra) {
        Map<String, Object> settings = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "enable.auto.commit", false,
            "auto.offset.reset", "earliest", "session.timeout.ms", 10000, "heartbeat.interval.ms", 1000, "fetch.max.wait.ms",
            100));
        settings.putAll(extra);
        return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private void produce(String of, List<Pair> pairs, Map<String, Object> extra) throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = producer(extra)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (Pair pair : pairs) {
                sent.add(producer.send(new ProducerRecord<>(topic(of), bytes(pair.key), bytes(pair.value))));
            }
            all(sent);
        }
    }

    /** The sum of the partitions' ends. */
    private long ends(String of, int partitions) {
        Map<TopicPartition, OffsetSpec> places = new HashMap<>();
        for (int partition = 0; partition < partitions; partition++) {
            places.put(new TopicPartition(topic(of), partition), OffsetSpec.latest());
        }
        try {
            return admin.listOffsets(places).all().get().values().stream().mapToLong(end -> end.offset()).sum();
        } catch (ExecutionException | InterruptedException error) {
            throw new AssertionError(error);
        }
    }

    private static void all(List<Future<RecordMetadata>> sent) throws Exception {
        for (Future<RecordMetadata> one : sent) {
            one.get(WAIT_MS, TimeUnit.MILLISECONDS);
        }
    }

    private List<ConsumerRecord<byte[], byte[]>> readAll(String of, int partitions, int count) throws Exception {
        Map<TopicPartition, Long> places = new HashMap<>();
        for (int partition = 0; partition < partitions; partition++) {
            places.put(new TopicPartition(topic(of), partition), 0L);
        }
        return read(places, count);
    }

    private List<ConsumerRecord<byte[], byte[]>> read(String of, int partition, long offset, int count) throws Exception {
        return read(Map.of(new TopicPartition(topic(of), partition), offset), count);
    }

    private List<ConsumerRecord<byte[], byte[]>> read(Map<TopicPartition, Long> places, int count) throws Exception {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of("isolation.level", "read_committed"))) {
            consumer.assign(places.keySet());
            places.forEach(consumer::seek);
            until(() -> {
                consumer.poll(Duration.ofMillis(200)).forEach(records::add);
                return records.size() >= count;
            }, count + " records to be read");
            consumer.poll(Duration.ofMillis(200)).forEach(records::add);
        }
        return records;
    }

    private static Map<Pair, Integer> counted(Iterable<Pair> pairs) {
        Map<Pair, Integer> counts = new HashMap<>();
        pairs.forEach(pair -> counts.merge(pair, 1, Integer::sum));
        return counts;
    }

    private static Pair pair(ConsumerRecord<byte[], byte[]> record) {
        return new Pair(text(record.key()), text(record.value()));
    }

    private static void until(BooleanSupplier condition, String what) throws Exception {
        long end = System.currentTimeMillis() + WAIT_MS;
        while (!condition.getAsBoolean()) {
            check(System.currentTimeMillis() < end, "waited " + WAIT_MS / 1000 + " s for " + what);
            Thread.sleep(20);
        }
    }

    /** Bytes that do not compress to nothing and differ from place to place. */
    private static byte[] mixed(int size) throws Exception {
        byte[] out = new byte[size];
        byte[] state = bytes("coretide");
        for (int at = 0; at < size; at += 32) {
            state = MessageDigest.getInstance("SHA-256").digest(state);
            System.arraycopy(state, 0, out, at, Math.min(32, size - at));
        }
        return out;
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static String text(byte[] bytes) {
        return bytes == null ? null : new String(bytes, StandardCharsets.UTF_8);
    }

    private static void check(boolean holds, String otherwise) {
        if (!holds) {
            throw new AssertionError(otherwise);
        }
    }
}
