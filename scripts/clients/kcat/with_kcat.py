"""The scenario with kcat: every read and write is a kcat process of its own. Standard library only.

Uses the steps and checks of the Python clients; what kcat cannot do is said in the step.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))

from scenario import PARTITIONS, Record, Scenario, check, main, take_all, until

FORMAT = "%p\\t%o\\t%T\\t%K\\t%S\\t%h\\n%k\\n%s\\n"


def parse(stream):
    """Reads records in FORMAT: a line of numbers, then key and value by their lengths (-1 is null)."""
    while True:
        head = stream.readline()
        if not head.endswith(b"\n"):
            return
        partition, offset, timestamp, key_bytes, value_bytes, headers = head.rstrip(b"\n").split(b"\t")
        parts = []
        for size in (int(key_bytes), int(value_bytes)):
            parts.append(None if size < 0 else stream.read(size))
            stream.readline()
        pairs = [pair.split(b"=", 1) for pair in headers.split(b",") if pair]
        yield Record(int(partition), int(offset), int(timestamp), *parts,
                     [(key.decode(), None if value == b"NULL" else value) for key, value in pairs])


class Member:
    """A kcat in group mode. It commits by itself every 200 ms and when it leaves."""

    def __init__(self, bootstrap, topic, group):
        command = ["kcat", "-b", bootstrap, "-G", group, "-E", "-u", "-f", FORMAT, "-X", "auto.offset.reset=earliest",
                   "-X", "session.timeout.ms=10000", "-X", "heartbeat.interval.ms=1000", "-X", "fetch.wait.max.ms=100",
                   "-X", "auto.commit.interval.ms=200", "-X", "reconnect.backoff.max.ms=200", topic]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.records, self.mine = queue.Queue(), []
        threading.Thread(target=self.read_records, daemon=True).start()
        threading.Thread(target=self.read_news, daemon=True).start()

    def read_records(self):
        for record in parse(self.process.stdout):
            self.records.put(record)

    def read_news(self):
        """kcat says on stderr: `% Group x rebalanced (memberid y): assigned: topic [0], topic [1]`."""
        for line in self.process.stderr:
            text = line.decode(errors="replace").strip()
            print(text, file=sys.stderr, flush=True)
            if ": assigned:" in text:
                self.mine = [int(place.split("[")[1].split("]")[0]) for place in text.split(": assigned:")[1].split(",")
                             if "[" in place]
            elif ": revoked:" in text:
                self.mine = []

    def poll(self):
        return take_all(self.records)

    def assigned(self):
        return list(self.mine)

    def commit(self):
        time.sleep(0.6)

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)


class Adapter:
    codecs = ["none", "gzip", "snappy", "lz4", "zstd"]
    null_header_values = True
    idempotent = True

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        version = subprocess.run(["kcat", "-V"], capture_output=True, text=True, timeout=20, check=True).stdout
        print(" ".join(line for line in version.splitlines() if "Version" in line), flush=True)

    def kcat(self, arguments, data=b"", limit=60, may_fail=False):
        done = subprocess.run(["kcat", "-b", self.bootstrap, *arguments], input=data, capture_output=True, timeout=limit)
        check(may_fail or done.returncode == 0, f"kcat {arguments}: {done.stderr.decode(errors='replace')[-300:]}")
        return done

    def metadata(self, topic):
        return json.loads(self.kcat(["-L", "-J", "-t", topic]).stdout)["topics"][0]

    def create_topic(self, topic, partitions, config=None):
        """kcat makes topics only by asking for them: auto.create.topics.enable and num.partitions decide."""
        until(lambda: self.partitions_of(topic) > 0 or time.sleep(0.2), "the topic to be made by itself")

    def partitions_of(self, topic):
        found = self.metadata(topic)
        return len(found["partitions"]) if "error" not in found else 0

    def produce(self, topic, records, codec, acks, partition=None, headers=None, extra=()):
        arguments = ["-P", "-E", "-t", topic, "-z", codec, "-X", f"acks={acks}", "-X", "message.max.bytes=4194304",
                     "-X", "message.timeout.ms=40000", "-X", "partitioner=murmur2_random", *extra]
        if records[0][0] is not None:
            arguments += ["-K", "\t"]
        if any(value is None for _, value in records):
            arguments += ["-Z"]
        if partition is not None:
            arguments += ["-p", str(partition)]
        for key, value in headers or []:
            arguments += ["-H", key if value is None else key + "=" + value.decode()]
        data = b"".join((key + b"\t" if key is not None else b"") + (value or b"") + b"\n" for key, value in records)
        done = self.kcat(arguments, data)
        check(b"Delivery failed" not in done.stderr, f"kcat said: {done.stderr.decode(errors='replace')[-300:]}")

    def produce_acked(self, topic, records):
        """A kcat that ends well has had an answer for each record, but does not say at which offset."""
        self.produce(topic, records, "lz4", -1, extra=["-X", "enable.idempotence=true"])
        return [(None, None, key, value) for key, value in records]

    def produce_error(self, topic, record, partition):
        arguments = ["-P", "-t", topic, "-p", str(partition), "-X", "message.max.bytes=4194304"]
        done = self.kcat(arguments, record[1] + b"\n", may_fail=True)
        return 10 if b"Broker: Message size too large" in done.stderr else done.stderr.decode(errors="replace")[-200:]

    def read(self, arguments):
        done = self.kcat(["-C", "-e", "-q", "-f", FORMAT, "-X", "fetch.wait.max.ms=100", *arguments])
        return list(parse(Stream(done.stdout)))

    def read_all(self, topic, partitions, count):
        return self.read(["-t", topic, "-o", "beginning"])

    def read_from(self, topic, partition, offset, count):
        return self.read(["-t", topic, "-p", str(partition), "-o", str(offset), "-c", str(count)])

    def offset_for_time(self, topic, partition, timestamp):
        said = self.kcat(["-Q", "-t", f"{topic}:{partition}:{timestamp}"]).stdout
        return int(said.split()[-1])

    def end_offsets(self, topic, partitions):
        return sum(self.offset_for_time(topic, p, -1) for p in range(partitions))

    def member(self, topic, group):
        return Member(self.bootstrap, topic, group)


class Stream:
    """What `parse` needs of a file, over bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def readline(self):
        end = self.data.find(b"\n", self.at) + 1 or len(self.data)
        line, self.at = self.data[self.at:end], end
        return line

    def read(self, size):
        part, self.at = self.data[self.at:self.at + size], self.at + size
        return part


class KcatScenario(Scenario):
    def timestamps(self):
        """kcat cannot choose a record's time, so the times are those of its clock, read back."""
        topic = f"{self.name}-times"
        self.adapter.create_topic(topic, PARTITIONS)
        for index, codec in enumerate(self.adapter.codecs):
            self.adapter.produce(topic, self.lines[index * 40:index * 40 + 40], codec=codec, acks=-1, partition=0)
            time.sleep(0.05)
        records = self.adapter.read_from(topic, 0, 0, 200)
        check(len(records) == 200, f"{len(records)} records of 200")
        for wanted in (0, 39, 40, 95, 120, 199):
            target = records[wanted].timestamp
            first = next(r.offset for r in records if r.timestamp >= target)
            offset = self.adapter.offset_for_time(topic, 0, target)
            check(offset == first, f"time {target} is offset {offset}, not {first}")
            read = self.adapter.read(["-t", topic, "-p", "0", "-o", f"s@{target}", "-c", "1"])
            check(read[0] == records[first], f"reading from {target} began with {read[0]!r:.200}")
        return "exact offsets for the times of its clock, which it cannot choose"


if __name__ == "__main__":
    main(Adapter, KcatScenario)
