"""What librdkafka makes of a load: records by the clock, and at the end how many requests it took.

Arguments: BOOTSTRAP TOPIC RATE WARMUP_SECS SECS RECORD_BYTES KEYS(0: none) COMPRESSIBILITY NAME=VALUE...
"""
import json
import random
import sys
import time

from confluent_kafka import Producer

POOL_BYTES = 4 << 20
PIECE_BYTES = 64
# A burst of records that were due while the process was not running is no load of this rate.
TICK_SECS = 0.0002


def pool_of(compressibility, source):
    pieces = []
    for _ in range(POOL_BYTES // PIECE_BYTES):
        zeros = source.random() < compressibility
        pieces.append(bytes(PIECE_BYTES) if zeros else source.randbytes(PIECE_BYTES))
    return b"".join(pieces)


def main():
    bootstrap, topic = sys.argv[1:3]
    rate, warmup_secs, secs = (float(text) for text in sys.argv[3:6])
    record_bytes, keys, compressibility = int(sys.argv[6]), int(sys.argv[7]), float(sys.argv[8])
    source = random.Random(1)
    pool = pool_of(compressibility, source)
    requests, failures = [], []

    def looked(text):
        stats = json.loads(text)
        sent = sum(broker["req"].get("Produce", 0) for broker in stats["brokers"].values())
        requests.append((stats["ts"], sent))

    def delivered(error, _message):
        if error is not None:
            failures.append(str(error))

    settings = dict(pair.split("=", 1) for pair in sys.argv[9:])
    settings |= {"bootstrap.servers": bootstrap, "statistics.interval.ms": 500, "stats_cb": looked}
    producer = Producer(settings)
    producer.list_topics(topic)
    warm, count = int(warmup_secs * rate), int((warmup_secs + secs) * rate)
    begin = time.monotonic()
    measured_from = begin
    measured_from_ms = int(time.time() * 1000)
    looks_before = 0
    for number in range(count):
        due = begin + number / rate
        while (left := due - time.monotonic()) > 0:
            producer.poll(0)
            time.sleep(min(left, TICK_SECS))
        if number == warm:
            looks_before, measured_from = len(requests), time.monotonic()
            measured_from_ms = int(time.time() * 1000)
        at = source.randrange(POOL_BYTES - record_bytes)
        key = b"%08xkkkkkkkk" % source.randrange(keys) if keys else None
        producer.produce(topic, pool[at : at + record_bytes], key, on_delivery=delivered)
    measured = time.monotonic() - measured_from
    looks = requests[looks_before:]
    producer.flush()
    if failures:
        sys.exit(f"{len(failures)} records failed, the first one with: {failures[0]}")
    (first_us, first), (last_us, last) = looks[0], looks[-1]
    per_s = (last - first) / ((last_us - first_us) / 1e6)
    print(f"requests/s {per_s} records/s {(count - warm) / measured} from_ms {measured_from_ms}")


main()
