// Open WatchJob and ReadLogs streams, fed on the loop's thread.
#pragma once

#include <list>
#include <memory>
#include <string>

#include "galleon/v1/jobs.pb.h"
#include "server/api/access.h"
#include "server/api/log_files.h"
#include "server/api/streams.h"
#include "server/core/scheduler.h"

namespace galleon::server {

inline constexpr size_t kMostStreams = 1000;

// Sends a job's record whenever it has changed, at most five times a second, and ends after a terminal state.
class Watches {
 public:
  using WatchStream = Stream<v1::WatchJobResponse>;
  // Events after `after_revision` are told, each once; 0: none of the past. False: there are too many streams.
  bool add(WatchStream* stream, const Scheduler& scheduler, std::string job_id, uint64_t after_revision, Viewer viewer);
  void feed(const Scheduler& scheduler, Now now);
  // Ends all streams as soon as their last write is done, and every later one at once.
  void shut_down() { stopping_ = true; }

 private:
  struct Watch {
    WatchStream* stream;
    std::string job_id;
    Viewer viewer;
    std::string last;
    uint64_t revision = 0;  // everything up to here has been told
    int64_t next_ms = 0;
    bool ended = false;
  };
  // True when the stream is finished and must not be touched again.
  bool feed_one(Watch& watch, const Scheduler& scheduler, Now now);
  std::list<Watch> watches_;
  int looked_at_ = 0;  // in this round
  bool stopping_ = false;
};

// Sends every durable change, or those of one job or worker, each once and in order.
class EventStreams {
 public:
  using EventStream = Stream<v1::WatchEventsResponse>;
  bool add(EventStream* stream, const v1::WatchEventsRequest& request, Viewer viewer);
  void feed(const Scheduler& scheduler, Now now);
  void shut_down() { stopping_ = true; }

 private:
  struct Reader {
    EventStream* stream;
    std::string subject;
    Viewer viewer;
    bool follow = false;
    bool revision_only = false;
    uint64_t revision = 0;
    int64_t next_ms = 0;
  };
  bool feed_one(Reader& reader, const Scheduler& scheduler, Now now);
  std::list<Reader> readers_;
  int searches_ = 0;  // through all that is kept, in this round
  bool stopping_ = false;
};

// Sends a log in pieces; with `follow` until the attempt (attempt 0: the job) has ended and its log is complete.
class LogStreams {
 public:
  using LogStream = Stream<v1::ReadLogsResponse>;
  explicit LogStreams(const LogFiles* files) : files_(files) {}
  bool add(LogStream* stream, const v1::JobState& job, const v1::ReadLogsRequest& request, Viewer viewer);
  void feed(const Scheduler& scheduler, Now now);
  void shut_down() { stopping_ = true; }

 private:
  struct Reader {
    LogStream* stream;
    Viewer viewer;
    LogFiles::Key key;    // attempt 0: the first has not begun
    bool newest = false;  // goes on with the next attempt
    bool follow = false;
    uint64_t offset = 0;
    int64_t next_ms = 0;
    int64_t ended_ms = -1;  // when the attempt was first seen to be over
  };
  bool feed_one(Reader& reader, const Scheduler& scheduler, Now now);
  const LogFiles* files_;
  std::list<Reader> readers_;
  bool stopping_ = false;
};

}  // namespace galleon::server
