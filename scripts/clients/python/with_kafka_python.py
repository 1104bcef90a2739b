"""The scenario with kafka-python, for 2.0.2 (which stood still for years and is still deployed) and for today's."""

import sys
import time

if sys.version_info >= (3, 12):
    # 2.0.2 carries a `six` that newer Pythons cannot import lazily.
    import six.moves
    sys.modules["kafka.vendor.six.moves"] = six.moves

import kafka
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError

from scenario import Record, Threaded, main, until

OLD = kafka.__version__.startswith("2.0.")


def record_of(message):
    return Record(message.partition, message.offset, message.timestamp, message.key, message.value, message.headers)


class Member:
    def __init__(self, bootstrap, topic, group):
        self.consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest",
                                      enable_auto_commit=False, session_timeout_ms=10000, heartbeat_interval_ms=1000,
                                      fetch_max_wait_ms=100)

    def poll(self):
        return [record_of(m) for batch in self.consumer.poll(200, max_records=1000).values() for m in batch]

    def assigned(self):
        return [place.partition for place in self.consumer.assignment()]

    def commit(self):
        self.consumer.commit()

    def close(self):
        self.consumer.close(autocommit=False)


class Adapter:
    codecs = ["none", "gzip", "snappy", "lz4", "zstd"]
    null_header_values = False
    idempotent = not OLD

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.steady = self.asker = None
        self.admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        print("kafka-python", kafka.__version__, flush=True)

    def create_topic(self, topic, partitions, config=None):
        self.admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=config or {})])
        until(lambda: self.partitions_of(topic) == partitions or time.sleep(0.1), "the new topic")

    def partitions_of(self, topic):
        found = [t for t in self.admin.describe_topics([topic]) if t.get("topic", t.get("name")) == topic]
        return len(found[0]["partitions"]) if found else 0

    def producer(self, **extra):
        settings = dict(bootstrap_servers=self.bootstrap, linger_ms=5, retries=1000, max_request_size=4 * 1024 * 1024,
                        request_timeout_ms=20000)
        if OLD:
            # The one way to keep the order with retries where there is no idempotence.
            settings["max_in_flight_requests_per_connection"] = 1
        else:
            settings["delivery_timeout_ms"] = 40000
            settings["enable_idempotence"] = False
        settings.update(extra)
        return KafkaProducer(**settings)

    def produce(self, topic, records, codec, acks, partition=None, timestamps=None, headers=None):
        producer = self.producer(compression_type=None if codec == "none" else codec, acks="all" if acks == -1 else acks)
        sent = []
        for index, (key, value) in enumerate(records):
            sent.append(producer.send(topic, value=value, key=key, headers=headers, partition=partition,
                                      timestamp_ms=timestamps[index] if timestamps else None))
        producer.flush(40)
        for future in sent:
            future.get(40)
        producer.close(10)

    def produce_acked(self, topic, records):
        if self.steady is None:
            extra = {"acks": "all"} if OLD else {"enable_idempotence": True}
            self.steady = self.producer(compression_type="lz4", **extra)
        sent = [(self.steady.send(topic, value=value, key=key), key, value) for key, value in records]
        self.steady.flush(40)
        acked = []
        for future, key, value in sent:
            place = future.get(40)
            acked.append((place.partition, place.offset, key, value))
        return acked

    def produce_error(self, topic, record, partition):
        producer = self.producer(acks="all")
        try:
            producer.send(topic, value=record[1], key=record[0], partition=partition).get(40)
        except KafkaError as error:
            return getattr(error, "errno", repr(error))
        finally:
            producer.close(10)
        return "nothing"

    def reader(self):
        return KafkaConsumer(bootstrap_servers=self.bootstrap, enable_auto_commit=False, auto_offset_reset="none",
                             fetch_max_wait_ms=100, max_partition_fetch_bytes=4 * 1024 * 1024)

    def read(self, places, count):
        reader, records = self.reader(), []
        reader.assign([place for place, _ in places])
        for place, offset in places:
            reader.seek(place, offset)

        def enough():
            for batch in reader.poll(200, max_records=1000).values():
                records.extend(record_of(m) for m in batch)
            return len(records) >= count

        until(enough, f"{count} records to be read")
        for batch in reader.poll(200, max_records=1000).values():
            records.extend(record_of(m) for m in batch)
        reader.close()
        return records

    def read_all(self, topic, partitions, count):
        return self.read([(TopicPartition(topic, p), 0) for p in range(partitions)], count)

    def read_from(self, topic, partition, offset, count):
        return self.read([(TopicPartition(topic, partition), offset)], count)[:count]

    def offset_for_time(self, topic, partition, timestamp):
        reader, place = self.reader(), TopicPartition(topic, partition)
        found = reader.offsets_for_times({place: timestamp})[place]
        reader.close()
        return None if found is None else found.offset

    def end_offsets(self, topic, partitions):
        if self.asker is None:
            self.asker = self.reader()
        return sum(self.asker.end_offsets([TopicPartition(topic, p) for p in range(partitions)]).values())

    def member(self, topic, group):
        # A thread each: 2.0.2 waits in one member's poll() until all members have joined.
        return Threaded(lambda: Member(self.bootstrap, topic, group))


main(Adapter)
