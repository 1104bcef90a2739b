"""A producer or a consumer of librdkafka, through confluent-kafka: one line of JSON about what it did."""

import json
import os
import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer, libversion

RECORD_BYTES = 1024
PAYLOADS = 256


def percentiles(seconds):
    """The usual ones in microseconds."""
    seconds.sort()
    at = lambda share: seconds[min(int(len(seconds) * share), len(seconds) - 1)] * 1e6
    return {"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": seconds[-1] * 1e6,
            "mean": sum(seconds) / len(seconds) * 1e6}


def produce(topic, records, config):
    latencies, failed = [], []

    def delivered(error, message):
        if error is None:
            latencies.append(message.latency())
        else:
            failed.append(str(error))

    producer = Producer(config | {"on_delivery": delivered})
    # As random as the letters of Kafka's own tool.
    letters = bytes(65 + byte % 26 for byte in range(256))
    payloads = [os.urandom(RECORD_BYTES).translate(letters) for _ in range(PAYLOADS)]
    started = time.monotonic()
    for count in range(records):
        while True:
            try:
                producer.produce(topic, payloads[count % PAYLOADS])
                break
            except BufferError:
                producer.poll(0.05)
        if count % 64 == 0:
            producer.poll(0)
    producer.flush()
    secs = time.monotonic() - started
    if failed or len(latencies) != records:
        sys.exit(f"{records - len(latencies)} of {records} records were not delivered: {failed[:1]}")
    return {"records": records, "bytes": records * RECORD_BYTES, "secs": secs, "latency_us": percentiles(latencies)}


def consume(topic, records, config):
    consumer = Consumer(config | {"group.id": f"{topic}-group", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    seen, size, started, last = 0, 0, None, time.monotonic()
    while seen < records:
        messages = consumer.consume(10_000, 0.2)
        now = time.monotonic()
        if messages:
            # From the first records on: joining the group is another matter.
            if started is None:
                started = now
            else:
                size += sum(len(message) for message in messages)
            last = now
            for message in messages:
                if message.error():
                    raise KafkaException(message.error())
            seen += len(messages)
        elif now - last > 30:
            sys.exit(f"only {seen} of {records} records arrived")
    secs = time.monotonic() - started
    consumer.close()
    return {"records": size // RECORD_BYTES, "bytes": size, "secs": secs, "latency_us": None}


role, bootstrap, topic, records = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
settings = {"bootstrap.servers": bootstrap} | dict(pair.split("=", 1) for pair in sys.argv[5:])
outcome = (produce if role == "produce" else consume)(topic, records, settings)
print(json.dumps(outcome | {"librdkafka": libversion()[0]}))
