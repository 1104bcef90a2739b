// What the official producer makes of a load: records by the clock, and at the end how many requests it took.
// Arguments: BOOTSTRAP TOPIC RATE WARMUP_SECS SECS RECORD_BYTES KEYS(0: none) COMPRESSIBILITY NAME=VALUE...
import java.nio.charset.StandardCharsets;
import java.util.Properties;
import java.util.Random;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public final class Model {
    private static final int POOL_BYTES = 4 << 20;
    private static final int PIECE_BYTES = 64;

    public static void main(String[] arguments) throws Exception {
        double rate = Double.parseDouble(arguments[2]);
        double warmupSecs = Double.parseDouble(arguments[3]);
        double secs = Double.parseDouble(arguments[4]);
        int recordBytes = Integer.parseInt(arguments[5]);
        int keys = Integer.parseInt(arguments[6]);
        Random random = new Random(1);
        byte[] pool = pool(Double.parseDouble(arguments[7]), random);
        Properties properties = new Properties();
        properties.put("bootstrap.servers", arguments[0]);
        properties.put("key.serializer", ByteArraySerializer.class.getName());
        properties.put("value.serializer", ByteArraySerializer.class.getName());
        for (int place = 8; place < arguments.length; place++) {
            String[] pair = arguments[place].split("=", 2);
            properties.put(pair[0], pair[1]);
        }
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(properties)) {
            producer.partitionsFor(arguments[1]);
            long begin = System.nanoTime();
            long warm = (long) (warmupSecs * rate);
            long all = (long) ((warmupSecs + secs) * rate);
            double requestsBefore = 0;
            long measuredFrom = begin;
            long measuredFromMs = System.currentTimeMillis();
            for (long sent = 0; sent < all; sent++) {
                long due = begin + (long) (sent / rate * 1e9);
                for (long left = due - System.nanoTime(); left > 0; left = due - System.nanoTime()) {
                    LockSupport.parkNanos(left);
                }
                if (sent == warm) {
                    requestsBefore = requests(producer);
                    measuredFrom = System.nanoTime();
                    measuredFromMs = System.currentTimeMillis();
                }
                int at = random.nextInt(POOL_BYTES - recordBytes);
                byte[] value = new byte[recordBytes];
                System.arraycopy(pool, at, value, 0, recordBytes);
                producer.send(new ProducerRecord<>(arguments[1], key(keys, random), value));
            }
            double requests = requests(producer) - requestsBefore;
            double measured = (System.nanoTime() - measuredFrom) / 1e9;
            producer.flush();
            System.out.println("requests/s " + requests / measured + " records/s " + (all - warm) / measured
                    + " from_ms " + measuredFromMs);
        }
    }

    private static double requests(KafkaProducer<byte[], byte[]> producer) {
        return producer.metrics().values().stream()
                .filter(metric -> metric.metricName().group().equals("producer-metrics"))
                .filter(metric -> metric.metricName().name().equals("request-total"))
                .mapToDouble(metric -> (double) metric.metricValue()).findFirst().orElseThrow();
    }

    private static byte[] key(int keys, Random random) {
        if (keys == 0) {
            return null;
        }
        return (String.format("%08x", random.nextInt(keys)) + "kkkkkkkk").getBytes(StandardCharsets.US_ASCII);
    }

    private static byte[] pool(double compressibility, Random random) {
        byte[] pool = new byte[POOL_BYTES];
        byte[] piece = new byte[PIECE_BYTES];
        for (int at = 0; at < POOL_BYTES; at += PIECE_BYTES) {
            if (random.nextDouble() >= compressibility) {
                random.nextBytes(piece);
                System.arraycopy(piece, 0, pool, at, PIECE_BYTES);
            }
        }
        return pool;
    }
}
