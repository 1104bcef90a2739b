"""The scenario with confluent-kafka, the Python face of librdkafka."""

import confluent_kafka
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from scenario import Record, check, main, until


def record_of(message):
    kind, timestamp = message.timestamp()
    return Record(message.partition(), message.offset(), timestamp, message.key(), message.value(), message.headers())


class Member:
    def __init__(self, bootstrap, topic, group):
        self.consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
                                  "enable.auto.commit": False, "session.timeout.ms": 10000,
                                  "heartbeat.interval.ms": 1000, "fetch.wait.max.ms": 100})
        self.consumer.subscribe([topic])

    def poll(self):
        records = []
        for message in self.consumer.consume(1000, 0.2):
            if message.error():
                if message.error().fatal():
                    raise KafkaException(message.error())
                continue
            records.append(record_of(message))
        return records

    def assigned(self):
        return [place.partition for place in self.consumer.assignment()]

    def commit(self):
        try:
            for place in self.consumer.commit(asynchronous=False) or []:
                if place.error:
                    raise KafkaException(place.error)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._NO_OFFSET:
                raise

    def close(self):
        self.consumer.close()


class Adapter:
    codecs = ["none", "gzip", "snappy", "lz4", "zstd"]
    null_header_values = True
    idempotent = True

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.admin = AdminClient({"bootstrap.servers": bootstrap})
        self.steady = None
        print("confluent-kafka", confluent_kafka.__version__, "librdkafka", confluent_kafka.libversion()[0], flush=True)

    def create_topic(self, topic, partitions, config=None):
        made = self.admin.create_topics([NewTopic(topic, partitions, 1, config=config or {})], request_timeout=20)
        made[topic].result(20)
        until(lambda: self.partitions_of(topic) == partitions, "the new topic")

    def partitions_of(self, topic):
        return len(self.admin.list_topics(topic, timeout=10).topics[topic].partitions)

    def producer(self, **extra):
        settings = {"bootstrap.servers": self.bootstrap, "linger.ms": 5, "message.timeout.ms": 40000,
                    "message.max.bytes": 4 * 1024 * 1024}
        settings.update(extra)
        return Producer(settings)

    def produce(self, topic, records, codec, acks, partition=None, timestamps=None, headers=None):
        errors, delivered = [], []

        def done(error, message):
            (errors if error else delivered).append(error or message)

        producer = self.producer(**{"compression.type": codec, "acks": acks, "partitioner": "murmur2_random"})
        for index, (key, value) in enumerate(records):
            extra = {}
            if partition is not None:
                extra["partition"] = partition
            if timestamps:
                extra["timestamp"] = timestamps[index]
            if headers:
                extra["headers"] = headers
            producer.produce(topic, value=value, key=key, on_delivery=done, **extra)
        left = producer.flush(40)
        check(left == 0 and not errors, f"{left} not delivered, errors {errors[:3]}")
        check(len(delivered) == len(records), "not every record was answered")

    def produce_acked(self, topic, records):
        if self.steady is None:
            self.steady = self.producer(**{"enable.idempotence": True, "compression.type": "lz4",
                                           "partitioner": "murmur2_random"})
        acked, errors = [], []

        def done(error, message):
            if error:
                errors.append(error)
            else:
                acked.append((message.partition(), message.offset(), message.key(), message.value()))

        for key, value in records:
            self.steady.produce(topic, value=value, key=key, on_delivery=done)
        left = self.steady.flush(40)
        check(left == 0 and not errors, f"{left} not delivered, errors {errors[:3]}")
        return acked

    def produce_error(self, topic, record, partition):
        codes = []
        producer = self.producer()
        producer.produce(topic, value=record[1], key=record[0], partition=partition,
                         on_delivery=lambda error, _: codes.append(error and error.code()))
        producer.flush(40)
        return codes[0] if codes else "nothing"

    def reader(self):
        return Consumer({"bootstrap.servers": self.bootstrap, "group.id": "no-group", "enable.auto.commit": False,
                         "enable.partition.eof": False, "auto.offset.reset": "error", "fetch.wait.max.ms": 100})

    def read(self, places, count):
        reader, records = self.reader(), []
        reader.assign(places)

        def enough():
            for message in reader.consume(1000, 0.2):
                check(not message.error(), f"reading failed: {message.error()}")
                records.append(record_of(message))
            return len(records) >= count

        until(enough, f"{count} records to be read")
        records += [record_of(m) for m in reader.consume(1000, 0.2) if not m.error()]
        reader.close()
        return records

    def read_all(self, topic, partitions, count):
        return self.read([TopicPartition(topic, p, 0) for p in range(partitions)], count)

    def read_from(self, topic, partition, offset, count):
        return self.read([TopicPartition(topic, partition, offset)], count)[:count]

    def offset_for_time(self, topic, partition, timestamp):
        reader = self.reader()
        found = reader.offsets_for_times([TopicPartition(topic, partition, timestamp)], timeout=20)[0]
        reader.close()
        check(not found.error, f"offsets_for_times: {found.error}")
        return found.offset

    def end_offsets(self, topic, partitions):
        places = {TopicPartition(topic, p): OffsetSpec.latest() for p in range(partitions)}
        return sum(end.result(20).offset for end in self.admin.list_offsets(places, request_timeout=20).values())

    def member(self, topic, group):
        return Member(self.bootstrap, topic, group)


main(Adapter)
