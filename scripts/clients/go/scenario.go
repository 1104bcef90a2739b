// The scenario of every client with segmentio/kafka-go. What the steps share is at the end; kill.go has the last step.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

const (
	partitions = 3
	patience   = 40 * time.Second
)

type pair struct{ key, value string }

type place struct {
	partition int
	offset    int64
}

type codec struct {
	name string
	code kafka.Compression
}

var codecs = []codec{{"none", 0}, {"gzip", kafka.Gzip}, {"snappy", kafka.Snappy}, {"lz4", kafka.Lz4}, {"zstd", kafka.Zstd}}

type scenario struct {
	bootstrap, name string
	lines           []pair
	client          *kafka.Client
	produced        int
}

func main() {
	given := map[string]string{}
	for i := 1; i+1 < len(os.Args); i += 2 {
		given[os.Args[i]] = os.Args[i+1]
	}
	text, err := os.ReadFile(given["--input"])
	if err != nil {
		fmt.Println("FAIL start:", err)
		os.Exit(1)
	}
	s := &scenario{bootstrap: given["--bootstrap"], name: given["--name"]}
	s.client = &kafka.Client{Addr: kafka.TCP(s.bootstrap), Timeout: 20 * time.Second}
	for _, line := range strings.Split(strings.TrimRight(string(text), "\n"), "\n") {
		key, value, _ := strings.Cut(line, "\t")
		s.lines = append(s.lines, pair{key, value})
	}
	steps := []struct {
		name string
		play func() (string, error)
	}{{"create-topic", s.createTopic}, {"codecs-and-acks", s.codecsAndAcks}, {"group", s.group}, {"timestamps", s.timestamps},
		{"headers", s.headers}, {"sizes", s.sizes}, {"too-large", s.tooLarge}, {"kill", s.kill}}
	for _, step := range steps {
		started := time.Now()
		said, err := step.play()
		if err != nil {
			fmt.Printf("FAIL %s: %s\n", step.name, strings.ReplaceAll(err.Error(), "\n", " "))
			os.Exit(1)
		}
		fmt.Printf("ok %s: %s (%.1f s)\n", step.name, said, time.Since(started).Seconds())
	}
	fmt.Println("DONE")
}

func (s *scenario) createTopic() (string, error) {
	if err := s.create("log", partitions); err != nil {
		return "", err
	}
	answer, err := s.client.Metadata(context.Background(), &kafka.MetadataRequest{Topics: []string{s.topic("log")}})
	if err != nil {
		return "", err
	}
	if found := len(answer.Topics[0].Partitions); found != partitions {
		return "", fmt.Errorf("the topic has %d partitions", found)
	}
	return "3 partitions", nil
}

func (s *scenario) codecsAndAcks() (string, error) {
	var wanted []pair
	share := len(s.lines) / (len(codecs) * 3)
	for _, codec := range codecs {
		// acks=0 comes last: a broker may still be making the topic, and nobody would be told.
		for _, acks := range []kafka.RequiredAcks{kafka.RequireAll, kafka.RequireOne, kafka.RequireNone} {
			part := s.lines[len(wanted) : len(wanted)+share]
			wanted = append(wanted, part...)
			if err := s.produce("log", part, codec.code, acks); err != nil {
				return "", fmt.Errorf("%s, acks %d: %w", codec.name, acks, err)
			}
			// Nobody says when acks=0 is there, and the next writer has another connection.
			err := until(fmt.Sprintf("%d records after acks=%d", len(wanted), acks), func() bool {
				return s.ends("log", partitions) == int64(len(wanted))
			})
			if err != nil {
				return "", err
			}
		}
	}
	s.produced = len(wanted)
	read, err := s.readAll("log", partitions, len(wanted))
	if err != nil {
		return "", err
	}
	found, homes, next := map[string][]string{}, map[string]int{}, map[int]int64{}
	for _, m := range read {
		if m.Offset != next[m.Partition] {
			return "", fmt.Errorf("a hole before %d/%d", m.Partition, m.Offset)
		}
		next[m.Partition]++
		key := string(m.Key)
		if home, known := homes[key]; known && home != m.Partition {
			return "", fmt.Errorf("%s is in two partitions", key)
		}
		homes[key] = m.Partition
		found[key] = append(found[key], string(m.Value))
	}
	order := map[string][]string{}
	for _, one := range wanted {
		order[one.key] = append(order[one.key], one.value)
	}
	if fmt.Sprint(order) != fmt.Sprint(found) {
		return "", errors.New("what was read is not what was produced, in order for each key")
	}
	return fmt.Sprintf("%d records, codecs none gzip snappy lz4 zstd, acks 0 1 all", len(wanted)), nil
}

// member is a reader in a group with what it has read.
type member struct {
	reader *kafka.Reader
	mutex  sync.Mutex
	seen   map[place]kafka.Message
	stop   context.CancelFunc
	ended  chan struct{}
}

func (s *scenario) join(group, of string) *member {
	ctx, stop := context.WithCancel(context.Background())
	m := &member{seen: map[place]kafka.Message{}, stop: stop, ended: make(chan struct{})}
	m.reader = kafka.NewReader(kafka.ReaderConfig{Brokers: []string{s.bootstrap}, GroupID: group, Topic: s.topic(of),
		StartOffset: kafka.FirstOffset, MaxWait: 100 * time.Millisecond, HeartbeatInterval: time.Second,
		SessionTimeout: 10 * time.Second, RebalanceTimeout: 10 * time.Second, JoinGroupBackoff: 200 * time.Millisecond,
		MaxAttempts: 100, ErrorLogger: kafka.LoggerFunc(logf)})
	go func() {
		defer close(m.ended)
		for ctx.Err() == nil {
			message, err := m.reader.FetchMessage(ctx)
			if err != nil {
				logf("a member met %v", err)
				continue
			}
			m.mutex.Lock()
			m.seen[place{message.Partition, message.Offset}] = message
			m.mutex.Unlock()
		}
	}()
	return m
}

func (m *member) count() int {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return len(m.seen)
}

func (m *member) places() map[place]pair {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	places := map[place]pair{}
	for at, message := range m.seen {
		places[at] = pair{string(message.Key), string(message.Value)}
	}
	return places
}

func (m *member) forget() {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.seen = map[place]kafka.Message{}
}

// commit commits the last message of each partition.
func (m *member) commit() error {
	last := map[int]kafka.Message{}
	m.mutex.Lock()
	for _, message := range m.seen {
		if known, is := last[message.Partition]; !is || message.Offset > known.Offset {
			last[message.Partition] = message
		}
	}
	m.mutex.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, message := range last {
		if err := m.reader.CommitMessages(ctx, message); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
	}
	return nil
}

func (m *member) close() error {
	m.stop()
	<-m.ended
	return m.reader.Close()
}

// shares asks the coordinator who has which partitions; kafka-go's reader does not say.
func (s *scenario) shares(group string) ([]int, error) {
	answer, err := s.client.DescribeGroups(context.Background(), &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
	if err != nil {
		return nil, err
	}
	var shares []int
	for _, one := range answer.Groups[0].Members {
		total := 0
		for _, topic := range one.MemberAssignments.Topics {
			total += len(topic.Partitions)
		}
		shares = append(shares, total)
	}
	sort.Ints(shares)
	return shares, nil
}

func (s *scenario) untilShares(group string, wanted []int) error {
	return until("the partitions to be shared as "+fmt.Sprint(wanted), func() bool {
		time.Sleep(100 * time.Millisecond)
		shares, err := s.shares(group)
		return err == nil && fmt.Sprint(shares) == fmt.Sprint(wanted)
	})
}

func (s *scenario) group() (string, error) {
	group := s.name + "-group"
	first, second := s.join(group, "log"), s.join(group, "log")
	if err := s.untilShares(group, []int{1, 2}); err != nil {
		return "", err
	}
	seen := map[place]pair{}
	err := until("the two members to read everything", func() bool {
		for _, m := range []*member{first, second} {
			for at, one := range m.places() {
				seen[at] = one
			}
		}
		return len(seen) >= s.produced
	})
	if err == nil {
		err = first.commit()
	}
	if err == nil {
		err = second.commit()
	}
	if err == nil {
		err = first.close()
	}
	if err == nil {
		err = s.untilShares(group, []int{3})
	}
	if err != nil {
		return "", err
	}
	if len(seen) != s.produced {
		return "", fmt.Errorf("the group read %d of %d", len(seen), s.produced)
	}
	second.forget()
	more := marked(s.lines[:200], "after the takeover: ")
	if err := s.produceAndExpect(second, more, kafka.Zstd); err != nil {
		return "", fmt.Errorf("after the takeover: %w", err)
	}
	if err := second.close(); err != nil {
		return "", err
	}
	third := s.join(group, "log")
	again := marked(s.lines[200:300], "after the resume: ")
	if err := s.produceAndExpect(third, again, 0); err != nil {
		return "", fmt.Errorf("after the resume: %w", err)
	}
	if err := third.close(); err != nil {
		return "", err
	}
	s.produced += len(more) + len(again)
	return "two members, a takeover, a resume from what was committed", nil
}

// produceAndExpect produces, and the member must read exactly that, and commits it.
func (s *scenario) produceAndExpect(m *member, pairs []pair, code kafka.Compression) error {
	of := strings.TrimPrefix(m.reader.Config().Topic, s.name+"-")
	if err := s.produce(of, pairs, code, kafka.RequireAll); err != nil {
		return err
	}
	if err := until("what comes next", func() bool { return m.count() >= len(pairs) }); err != nil {
		return err
	}
	var got []pair
	for _, one := range m.places() {
		got = append(got, one)
	}
	if !same(got, pairs) {
		return errors.New("the member read something else than what comes next")
	}
	return m.commit()
}

func (s *scenario) timestamps() (string, error) {
	if err := s.create("times", 1); err != nil {
		return "", err
	}
	base := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	for chunk, codec := range codecs {
		var messages []kafka.Message
		for i := chunk * 100; i < chunk*100+100; i++ {
			messages = append(messages, kafka.Message{Key: []byte(s.lines[i].key), Value: []byte(s.lines[i].value),
				Time: base.Add(time.Duration(i) * time.Second)})
		}
		if err := s.write("times", messages, codec.code, kafka.RequireAll); err != nil {
			return "", err
		}
	}
	for _, wanted := range []int64{0, 1, 137, 250, 499} {
		for _, early := range []time.Duration{0, 999 * time.Millisecond} {
			conn, err := kafka.DialLeader(context.Background(), "tcp", s.bootstrap, s.topic("times"), 0)
			if err != nil {
				return "", err
			}
			offset, err := conn.ReadOffset(base.Add(time.Duration(wanted)*time.Second - early))
			conn.Close()
			if err != nil || offset != wanted {
				return "", fmt.Errorf("time %d s - %v is offset %d (%v)", wanted, early, offset, err)
			}
		}
	}
	read, err := s.read("times", 0, 250, 1)
	if err != nil {
		return "", err
	}
	if string(read[0].Value) != s.lines[250].value || !read[0].Time.Equal(base.Add(250*time.Second)) {
		return "", fmt.Errorf("offset 250 is %v %s", read[0].Time, read[0].Value)
	}
	return "exact offsets for 10 times, inside compressed batches too", nil
}

func (s *scenario) headers() (string, error) {
	if err := s.create("headers", 1); err != nil {
		return "", err
	}
	headers := []kafka.Header{{Key: "trace", Value: []byte("one")}, {Key: "trace", Value: []byte("two")},
		{Key: "empty", Value: []byte{}}, {Key: "nothing", Value: nil}, {Key: "ümlaut", Value: []byte("größe")}}
	err := s.write("headers", []kafka.Message{{Key: []byte("k"), Value: []byte("v"), Headers: headers}}, 0, kafka.RequireAll)
	if err != nil {
		return "", err
	}
	read, err := s.read("headers", 0, 0, 1)
	if err != nil {
		return "", err
	}
	if len(read[0].Headers) != len(headers) {
		return "", fmt.Errorf("the headers came back as %v", read[0].Headers)
	}
	for i, header := range read[0].Headers {
		if header.Key != headers[i].Key || !bytes.Equal(header.Value, headers[i].Value) {
			return "", fmt.Errorf("the headers came back as %v", read[0].Headers)
		}
	}
	return "duplicate keys and a null value; this client does not tell null from empty when it reads", nil
}

func (s *scenario) sizes() (string, error) {
	if err := s.create("sizes", 1); err != nil {
		return "", err
	}
	large := mixed(900 * 1024)
	wanted := []kafka.Message{{Key: []byte("empty"), Value: []byte{}}, {Key: []byte("null")}, {Value: []byte("no key")}}
	for _, message := range wanted {
		if err := s.write("sizes", []kafka.Message{message}, 0, kafka.RequireAll); err != nil {
			return "", err
		}
	}
	for _, codec := range codecs {
		message := kafka.Message{Key: []byte(codec.name), Value: large}
		if err := s.write("sizes", []kafka.Message{message}, codec.code, kafka.RequireAll); err != nil {
			return "", fmt.Errorf("%s: %w", codec.name, err)
		}
		wanted = append(wanted, message)
	}
	read, err := s.read("sizes", 0, 0, len(wanted))
	if err != nil {
		return "", err
	}
	for i, message := range wanted {
		if !bytes.Equal(read[i].Key, message.Key) || !bytes.Equal(read[i].Value, message.Value) {
			return "", fmt.Errorf("record %d came back as something else", i)
		}
	}
	return "an empty value, a null value, a null key, 900 KiB with each codec", nil
}

func (s *scenario) tooLarge() (string, error) {
	message := kafka.Message{Key: []byte("too large"), Value: mixed(2 * 1024 * 1024)}
	err := s.write("sizes", []kafka.Message{message}, 0, kafka.RequireAll)
	var many kafka.WriteErrors
	if errors.As(err, &many) {
		err = many[0]
	}
	if !errors.Is(err, kafka.MessageSizeTooLarge) {
		return "", fmt.Errorf("2 MiB were answered with %v", err)
	}
	after := []kafka.Message{{Key: []byte("after"), Value: []byte("still works")}}
	return "refused with MESSAGE_TOO_LARGE, the next one taken", s.write("sizes", after, 0, kafka.RequireAll)
}

func (s *scenario) topic(of string) string { return s.name + "-" + of }

func (s *scenario) create(of string, count int) error {
	topics := []kafka.TopicConfig{{Topic: s.topic(of), NumPartitions: count, ReplicationFactor: 1}}
	answer, err := s.client.CreateTopics(context.Background(), &kafka.CreateTopicsRequest{Topics: topics})
	if err != nil {
		return err
	}
	return answer.Errors[s.topic(of)]
}

func (s *scenario) writer(of string, code kafka.Compression, acks kafka.RequiredAcks) *kafka.Writer {
	return &kafka.Writer{Addr: kafka.TCP(s.bootstrap), Topic: s.topic(of), Balancer: &kafka.Murmur2Balancer{}, Compression: code,
		RequiredAcks: acks, BatchTimeout: 5 * time.Millisecond, BatchBytes: 4 << 20, MaxAttempts: 200,
		WriteBackoffMin: 20 * time.Millisecond, WriteBackoffMax: 200 * time.Millisecond, WriteTimeout: 15 * time.Second,
		ReadTimeout: 15 * time.Second, ErrorLogger: kafka.LoggerFunc(logf)}
}

func (s *scenario) write(of string, messages []kafka.Message, code kafka.Compression, acks kafka.RequiredAcks) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	writer := s.writer(of, code, acks)
	err := writer.WriteMessages(ctx, messages...)
	return errors.Join(err, writer.Close())
}

func (s *scenario) produce(of string, pairs []pair, code kafka.Compression, acks kafka.RequiredAcks) error {
	return s.write(of, messages(pairs), code, acks)
}

func (s *scenario) read(of string, partition int, offset int64, count int) ([]kafka.Message, error) {
	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{s.bootstrap}, Topic: s.topic(of), Partition: partition,
		MaxWait: 100 * time.Millisecond, MaxBytes: 10 << 20, ErrorLogger: kafka.LoggerFunc(logf)})
	defer reader.Close()
	if err := reader.SetOffset(offset); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var read []kafka.Message
	for len(read) < count {
		message, err := reader.ReadMessage(ctx)
		if err != nil {
			return nil, fmt.Errorf("%d of %d records read from %s-%d: %w", len(read), count, of, partition, err)
		}
		read = append(read, message)
	}
	return read, nil
}

// readAll reads every partition to its end; there must be `count` records at least.
func (s *scenario) readAll(of string, partitions, count int) ([]kafka.Message, error) {
	var all []kafka.Message
	for partition := 0; partition < partitions; partition++ {
		conn, err := kafka.DialLeader(context.Background(), "tcp", s.bootstrap, s.topic(of), partition)
		if err != nil {
			return nil, err
		}
		first, last, err := conn.ReadOffsets()
		conn.Close()
		if err != nil {
			return nil, err
		}
		read, err := s.read(of, partition, first, int(last-first))
		if err != nil {
			return nil, err
		}
		all = append(all, read...)
	}
	if len(all) < count {
		return nil, fmt.Errorf("%d of %d records are there", len(all), count)
	}
	return all, nil
}

// ends adds up the partitions' ends; -1 when they are not known.
func (s *scenario) ends(of string, partitions int) int64 {
	var wanted []kafka.OffsetRequest
	for partition := 0; partition < partitions; partition++ {
		wanted = append(wanted, kafka.LastOffsetOf(partition))
	}
	request := &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{s.topic(of): wanted}}
	answer, err := s.client.ListOffsets(context.Background(), request)
	if err != nil {
		logf("ends: %v", err)
		return -1
	}
	var sum int64
	for _, partition := range answer.Topics[s.topic(of)] {
		sum += partition.LastOffset
	}
	return sum
}

func messages(pairs []pair) []kafka.Message {
	var all []kafka.Message
	for _, one := range pairs {
		all = append(all, kafka.Message{Key: []byte(one.key), Value: []byte(one.value)})
	}
	return all
}

func marked(pairs []pair, mark string) []pair {
	var all []pair
	for _, one := range pairs {
		all = append(all, pair{one.key, mark + one.value})
	}
	return all
}

func same(a, b []pair) bool {
	counts := map[pair]int{}
	for _, one := range a {
		counts[one]++
	}
	for _, one := range b {
		counts[one]--
	}
	for _, count := range counts {
		if count != 0 {
			return false
		}
	}
	return true
}

// mixed makes bytes that do not compress to nothing and differ from place to place.
func mixed(size int) []byte {
	var out []byte
	state := sha256.Sum256([]byte("coretide"))
	for len(out) < size {
		out = append(out, state[:]...)
		state = sha256.Sum256(state[:])
	}
	return out[:size]
}

func until(what string, condition func() bool) error {
	for end := time.Now().Add(patience); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("waited %v for %s", patience, what)
		}
	}
	return nil
}

func logf(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
}

// heardRestart is closed when the driver says that the broker is back.
func heardRestart() <-chan struct{} {
	heard := make(chan struct{})
	go func() {
		line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
		if line == "RESTARTED\n" {
			close(heard)
		}
	}()
	return heard
}
