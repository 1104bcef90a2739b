"""The scenario of every client, for the Python ones: what is done and checked, in terms of a small `Adapter`.

An adapter wraps one client library; all checks are here, so that no library's own idea of success is trusted.
"""

import argparse
import collections
import hashlib
import os
import queue
import sys
import threading
import time
import traceback

WAIT_S = 40
PARTITIONS = 3
LARGE_BYTES = 900 * 1024
TOO_LARGE_BYTES = 2 * 1024 * 1024

Record = collections.namedtuple("Record", "partition offset timestamp key value headers")


class NotPossible(Exception):
    """The client has no way to do this; the text says what is missing."""


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--input", required=True)
    parser.add_argument("--name", required=True)
    return parser.parse_args()


def read_input(path):
    with open(path, encoding="utf-8", newline="\n") as file:
        return [tuple(part.encode() for part in line.rstrip("\n").split("\t")) for line in file]


def text_of(size):
    """`size` bytes that do not compress to nothing and differ from place to place."""
    out = bytearray()
    state = b"coretide"
    while len(out) < size:
        state = hashlib.sha256(state).digest()
        out += state.hex().encode()
    return bytes(out[:size])


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def until(condition, what, limit=WAIT_S):
    """Runs `condition` (which may wait a little itself) until it is true."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {limit} s for {what}")


def by_partition(records):
    ordered = collections.defaultdict(list)
    for record in sorted(records, key=lambda r: (r.partition, r.offset)):
        ordered[record.partition].append(record)
    return ordered


def take_all(records):
    """What a queue holds, waiting a moment for the first."""
    taken = []
    try:
        taken.append(records.get(timeout=0.2))
        while True:
            taken.append(records.get_nowait())
    except queue.Empty:
        return taken


def commits(member):
    try:
        member.commit()
        return True
    except Exception as error:
        print(f"a commit met {error!r:.200}", file=sys.stderr, flush=True)
        return False


class Threaded:
    """A member of a group that polls in a thread of its own; all its calls are made there."""

    def __init__(self, make):
        self.calls, self.records, self.shared = queue.Queue(), queue.Queue(), []
        self.ended = False
        self.thread = threading.Thread(target=self.live, args=(make,), daemon=True)
        self.thread.start()

    def live(self, make):
        inner = make()
        while not self.ended:
            try:
                call, done = self.calls.get_nowait()
                self.ended = call == "close"
                try:
                    done.put(getattr(inner, call)())
                except Exception as error:
                    done.put(error)
            except queue.Empty:
                try:
                    for record in inner.poll():
                        self.records.put(record)
                    self.shared = inner.assigned()
                except Exception as error:
                    print(f"a member met {error!r:.200}", file=sys.stderr, flush=True)

    def poll(self):
        return take_all(self.records)

    def assigned(self):
        return list(self.shared)

    def ask(self, call):
        done = queue.Queue()
        self.calls.put((call, done))
        answer = done.get(timeout=WAIT_S)
        if isinstance(answer, Exception):
            raise answer

    def commit(self):
        self.ask("commit")

    def close(self):
        self.ask("close")


class Scenario:
    def __init__(self, adapter, args):
        self.adapter = adapter
        self.name = args.name
        self.lines = read_input(args.input)
        self.topic = f"{self.name}-log"
        self.produced = []

    def run(self):
        steps = [("create-topic", self.create_topic), ("codecs-and-acks", self.codecs_and_acks), ("group", self.group),
                 ("timestamps", self.timestamps), ("headers", self.headers), ("sizes", self.sizes),
                 ("too-large", self.too_large), ("kill", self.kill)]
        for step, play in steps:
            started = time.monotonic()
            try:
                said = play()
                print(f"ok {step}: {said} ({time.monotonic() - started:.1f} s)", flush=True)
            except NotPossible as why:
                print(f"skip {step}: {why}", flush=True)
            except Exception as error:
                traceback.print_exc()
                reason = str(error).replace("\n", " ")[:300]
                print(f"FAIL {step}: {type(error).__name__}: {reason}", flush=True)
                return 1
        print("DONE", flush=True)
        return 0

    def create_topic(self):
        self.adapter.create_topic(self.topic, PARTITIONS)
        until(lambda: self.adapter.partitions_of(self.topic) == PARTITIONS, "the topic's partitions")
        return f"{PARTITIONS} partitions"

    def codecs_and_acks(self):
        # acks=0 comes last: a broker may still be making the topic, and nobody would be told.
        ways = [(codec, acks) for codec in self.adapter.codecs for acks in (-1, 1, 0)]
        share = len(self.lines) // len(ways)
        wanted = []
        for index, (codec, acks) in enumerate(ways):
            part = self.lines[index * share:(index + 1) * share]
            self.adapter.produce(self.topic, part, codec=codec, acks=acks)
            wanted += part
            # Nobody says when acks=0 is there, and the next producer has another connection.
            until(lambda: self.adapter.end_offsets(self.topic, PARTITIONS) == len(wanted) or time.sleep(0.02),
                  f"{len(wanted)} records after acks={acks}")
        self.produced = wanted
        read = self.adapter.read_all(self.topic, PARTITIONS, len(wanted))
        got = collections.Counter((r.key, r.value) for r in read)
        check(got == collections.Counter(wanted), "what was read is not what was produced")
        places = collections.defaultdict(list)
        for partition, records in by_partition(read).items():
            offsets = [r.offset for r in records]
            check(offsets == list(range(len(offsets))), f"offsets of partition {partition} have holes")
            for record in records:
                places[record.key].append((partition, record.value))
        order = collections.defaultdict(list)
        for key, value in wanted:
            order[key].append(value)
        for key, found in places.items():
            check(len({partition for partition, _ in found}) == 1, f"{key!r} is in two partitions")
            check([value for _, value in found] == order[key], f"the records of {key!r} are out of order")
        return f"{len(wanted)} records, codecs {' '.join(str(c) for c in self.adapter.codecs)}, acks 0 1 all"

    def group(self):
        group = f"{self.name}-group"
        seen = []
        first, second = self.adapter.member(self.topic, group), self.adapter.member(self.topic, group)

        def poll_both():
            seen.extend(first.poll() + second.poll())
            return len(first.assigned()) + len(second.assigned()) == PARTITIONS and first.assigned() and second.assigned()

        until(poll_both, "both members to have a share of the partitions")
        check(not set(first.assigned()) & set(second.assigned()), "both members have the same partition")

        def poll_rest():
            seen.extend(first.poll() + second.poll())
            return len({(r.partition, r.offset) for r in seen}) >= len(self.produced)

        until(poll_rest, "the two members to read everything")
        first.commit()
        second.commit()
        first.close()

        def takes_over():
            seen.extend(second.poll())
            return len(second.assigned()) == PARTITIONS

        until(takes_over, "the second member to take over")
        before = len({(r.partition, r.offset) for r in seen})
        check(before == len(self.produced), f"{before} records read by the group of {len(self.produced)}")
        more = [(key, b"after the takeover: " + value) for key, value in self.lines[:200]]
        self.adapter.produce(self.topic, more, codec=self.adapter.codecs[0], acks=-1)
        late = []

        def poll_late():
            late.extend(second.poll())
            return len(late) >= len(more)

        until(poll_late, "the second member to read what came later")
        check(collections.Counter((r.key, r.value) for r in late) == collections.Counter(more),
              "after the takeover the member read something else than what was committed to come next")
        second.commit()
        second.close()
        again = [(key, b"after the resume: " + value) for key, value in self.lines[200:300]]
        self.adapter.produce(self.topic, again, codec=self.adapter.codecs[-1], acks=-1)
        third, resumed = self.adapter.member(self.topic, group), []

        def poll_third():
            resumed.extend(third.poll())
            return len(resumed) >= len(again)

        until(poll_third, "a new member to resume")
        check(collections.Counter((r.key, r.value) for r in resumed) == collections.Counter(again),
              "a new member did not resume where the group had committed")
        third.commit()
        third.close()
        self.produced += more + again
        return "two members, a takeover, a resume from what was committed"

    def timestamps(self):
        topic = f"{self.name}-times"
        self.adapter.create_topic(topic, 1)
        base = int(time.time() * 1000) - 3_600_000
        part = self.lines[:500]
        for index in range(0, len(part), 100):
            self.adapter.produce(topic, part[index:index + 100], codec=self.adapter.codecs[index // 100 % len(self.adapter.codecs)],
                                 acks=-1, partition=0, timestamps=[base + (index + i) * 1000 for i in range(100)])
        for wanted in (0, 1, 137, 250, 499):
            for early in (0, 999):
                target = base + wanted * 1000 - early
                offset = self.adapter.offset_for_time(topic, 0, target)
                check(offset == wanted, f"time {wanted} s - {early} ms is offset {offset}, not {wanted}")
        record = self.adapter.read_from(topic, 0, 250, 1)[0]
        check((record.key, record.value) == part[250] and record.timestamp == base + 250_000, f"offset 250 is {record!r:.200}")
        beyond = self.adapter.offset_for_time(topic, 0, base + 10_000_000)
        check(beyond in (None, -1, 500), f"a time after the end is offset {beyond}")
        return "exact offsets for 10 times, inside compressed batches too"

    def headers(self):
        topic = f"{self.name}-headers"
        self.adapter.create_topic(topic, 1)
        said = "duplicate keys and null values"
        headers = [("trace", b"one"), ("trace", b"two"), ("empty", b""), ("nothing", None), ("ümlaut", "größe".encode())]
        if not self.adapter.null_header_values:
            headers = [header for header in headers if header[1] is not None]
            said = "duplicate keys; a null value cannot be sent by this client"
        self.adapter.produce(topic, [(b"k", b"v")], codec=self.adapter.codecs[0], acks=-1, partition=0, headers=headers)
        record = self.adapter.read_from(topic, 0, 0, 1)[0]
        check(list(record.headers) == headers, f"the headers came back as {record.headers!r}")
        return said

    def sizes(self):
        topic = f"{self.name}-sizes"
        self.adapter.create_topic(topic, 1, {"cleanup.policy": "delete"})
        large = text_of(LARGE_BYTES)
        records = [(b"empty", b""), (b"null", None), (None, b"no key"), (b"large", large)]
        for record in records:
            self.adapter.produce(topic, [record], codec="none", acks=-1, partition=0)
        for codec in self.adapter.codecs[1:]:
            self.adapter.produce(topic, [(b"large", large)], codec=codec, acks=-1, partition=0)
            records.append((b"large", large))
        read = self.adapter.read_from(topic, 0, 0, len(records))
        for record, wanted in zip(read, records):
            check((record.key, record.value) == wanted, f"{wanted[0]!r} came back as {record.key!r}, {str(record.value)[:60]}")
        return "an empty value, a null value, a null key, 900 KiB with each codec"

    def too_large(self):
        topic = f"{self.name}-sizes"
        error = self.adapter.produce_error(topic, (b"too large", text_of(TOO_LARGE_BYTES)), partition=0)
        check(error == 10, f"a record of 2 MiB was answered with {error}, not with MESSAGE_TOO_LARGE (10)")
        self.adapter.produce(topic, [(b"after", b"still works")], codec="none", acks=-1, partition=0)
        return "refused with MESSAGE_TOO_LARGE, the next one taken"

    def kill(self):
        topic, group = f"{self.name}-kill", f"{self.name}-kill-group"
        self.adapter.create_topic(topic, PARTITIONS)
        acked, restarted, stop = [], threading.Event(), threading.Event()
        values = ((key, f"{number} ".encode() + value)
                  for number, (key, value) in enumerate(self.lines * 50))
        warm = [next(values) for _ in range(300)]
        acked += self.adapter.produce_acked(topic, warm)
        seen, member = {}, self.adapter.member(topic, group)

        def note(records):
            for r in records:
                seen[(r.partition, r.offset)] = (r.key, r.value)

        def warmed():
            note(member.poll())
            return len(seen) >= 300

        until(warmed, "the group to read the first records")
        member.commit()

        def follow():
            while not stop.is_set():
                try:
                    records = member.poll()
                    note(records)
                    if records:
                        member.commit()
                except Exception as error:
                    print(f"the member met {error!r:.200}", file=sys.stderr, flush=True)

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        threading.Thread(target=lambda: sys.stdin.readline() == "RESTARTED\n" and restarted.set(), daemon=True).start()
        after = 0
        end = time.monotonic() + 60
        while after < 10:
            batch = [next(values) for _ in range(50)]
            acked += self.adapter.produce_acked(topic, batch)
            if after == 0 and len(acked) >= 600:
                print("READY-FOR-KILL", flush=True)
                after = 1
            elif restarted.is_set():
                after += 1
            check(time.monotonic() < end, f"60 s were not enough for the kill: {len(acked)} acked")
        before_end = len(acked)
        read = {(r.partition, r.offset): (r.key, r.value) for r in self.adapter.read_all(topic, PARTITIONS, before_end)}
        there = set(read.values())
        for partition, offset, key, value in acked:
            if offset is None:
                check((key, value) in there, f"acked, but not there: {key!r} {value!r:.80}")
                continue
            check(read.get((partition, offset)) == (key, value), f"acked at {partition}/{offset}, but there is "
                  f"{read.get((partition, offset))!r:.120}")
        if self.adapter.idempotent:
            check(len(set(read.values())) == len(read), "an idempotent producer's record is there twice")
        until(lambda: time.sleep(0.05) or len(seen) >= len(read), "the group to go on after the restart")
        stop.set()
        follower.join(10)
        # A commit may meet a rebalance after the restart; then the member rejoins in its next poll.
        until(lambda: commits(member) or member.poll() is None, "the group to commit after the restart")
        member.close()
        check(seen == read, "the group read something else than what is there")
        last, left = self.adapter.member(topic, group), []
        extra = [next(values) for _ in range(50)]
        self.adapter.produce_acked(topic, extra)

        def resumed():
            left.extend(last.poll())
            return len(left) >= len(extra)

        until(resumed, "the group to resume")
        check(sorted((r.key, r.value) for r in left) == sorted(extra), "the group did not resume where it had committed")
        last.close()
        return f"{len(acked)} acked around the kill, all there; the group went on and resumed"


def main(adapter_class, scenario_class=Scenario):
    args = arguments()
    adapter = adapter_class(args.bootstrap)
    code = scenario_class(adapter, args).run()
    sys.stdout.flush()
    os._exit(code)
