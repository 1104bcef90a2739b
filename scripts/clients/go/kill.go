// The step in which the broker is killed and restarted.
package main

import (
	"context"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

func (s *scenario) kill() (string, error) {
	if err := s.create("kill", partitions); err != nil {
		return "", err
	}
	group := s.name + "-kill-group"
	follower := s.join(group, "kill")
	acked, err := s.produceAcross(follower)
	if err != nil {
		return "", err
	}
	read, err := s.readAll("kill", partitions, len(acked))
	if err != nil {
		return "", err
	}
	there, values := map[place]pair{}, map[pair]bool{}
	for _, message := range read {
		one := pair{string(message.Key), string(message.Value)}
		there[place{message.Partition, message.Offset}] = one
		values[one] = true
	}
	for _, one := range acked {
		if !values[one] {
			return "", fmt.Errorf("acked, but not there: %v", one)
		}
	}
	if err := until("the group to go on after the restart", func() bool { return follower.count() >= len(there) }); err != nil {
		return "", err
	}
	for at, one := range follower.places() {
		if there[at] != one {
			return "", fmt.Errorf("the group read something else at %v than what is there", at)
		}
	}
	// The connection that the member committed on died with the broker; it commits again when it has rejoined.
	if err := until("the group to commit after the restart", func() bool { return follower.commit() == nil }); err != nil {
		return "", err
	}
	if err := follower.close(); err != nil {
		return "", err
	}
	last := s.join(group, "kill")
	if err := s.produceAndExpect(last, marked(s.lines[:50], "after all: "), 0); err != nil {
		return "", fmt.Errorf("after a new member joined: %w", err)
	}
	said := fmt.Sprintf("%d acked around the kill, all there (%d twice: this client has no idempotence); the group went on and resumed",
		len(acked), len(there)-len(values))
	return said, last.close()
}

// produceAcross produces in small groups until the broker was killed, is back, and has taken some more.
func (s *scenario) produceAcross(follower *member) ([]pair, error) {
	writer := s.writer("kill", kafka.Lz4, kafka.RequireAll)
	defer writer.Close()
	heard := heardRestart()
	var acked []pair
	number, asked, after := 0, false, 0
	for end := time.Now().Add(time.Minute); after < 10; {
		if time.Now().After(end) {
			return nil, fmt.Errorf("a minute was not enough for the kill: %d acked", len(acked))
		}
		var group []pair
		for i := 0; i < 50; i++ {
			line := s.lines[number%len(s.lines)]
			group = append(group, pair{line.key, fmt.Sprintf("%d %s", number, line.value)})
			number++
		}
		if !asked && number >= 600 && follower.count() > 0 {
			if err := follower.commit(); err != nil {
				return nil, err
			}
			fmt.Println("READY-FOR-KILL")
			asked = true
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		err := writer.WriteMessages(ctx, messages(group)...)
		cancel()
		if err != nil {
			return nil, fmt.Errorf("after %d acked: %w", len(acked), err)
		}
		acked = append(acked, group...)
		select {
		case <-heard:
			after++
		default:
		}
	}
	return acked, nil
}
