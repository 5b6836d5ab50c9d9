// A trainer for tests: speaks the whole protocol and does what the label "script" of its job says, step by step.
//   log N | chatter MS | stage NAME | step N | beat N | published N | rendezvous | checkpoint N | sleep MS | wait-file
//   PATH | wait-stop | ignore-lease | child | finish | fail | diverge | fail-at-length BYTES | exit CODE | raise SIGNAL
//   | device | fail-device
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "common/base/clock.h"
#include "common/base/device_failure.h"
#include "common/base/files.h"
#include "common/base/frame.h"
#include "galleon/v1/job.pb.h"
#include "galleon/v1/trainer.pb.h"

namespace galleon {
namespace {

class FakeTrainer {
 public:
  FakeTrainer(const v1::Job& job, const v1::TrainerAssignment& assignment, FileDescriptor listener)
      : job_(job), assignment_(assignment), listener_(std::move(listener)) {}

  int run() {
    lease_end_ = clock_.monotonic() + absl::Milliseconds(assignment_.initial_lease_milliseconds());
    v1::TrainerEvent hello;
    *hello.mutable_hello()->mutable_id() = assignment_.id();
    hello.mutable_hello()->set_rank(assignment_.rank());
    hello.mutable_hello()->set_pid(::getpid());
    send(hello);
    server_ = std::jthread([this](const std::stop_token& stop) { serve(stop); });
    const auto script = job_.scheduling().labels().find("script");
    if (script == job_.scheduling().labels().end()) return 97;
    for (const absl::string_view command : absl::StrSplit(script->second, "; ")) {
      const std::vector<std::string> words = absl::StrSplit(command, ' ');
      perform(words[0], words.size() > 1 ? std::atol(words[1].c_str()) : 0, words.size() > 1 ? words[1] : "");
    }
    drain();
    return 0;
  }

 private:
  void say(const std::string& line) {
    std::printf("%s\n", line.c_str());
    std::fflush(stdout);
  }

  void send(v1::TrainerEvent event) {
    const std::lock_guard<std::mutex> lock(mutex_);
    event.set_sequence(++sequence_);
    waiting_.push_back(event);
  }

  void finish(v1::Finished::Outcome outcome, const std::string& message, bool diverged = false) {
    v1::TrainerEvent event;
    event.mutable_finished()->set_outcome(outcome);
    event.mutable_finished()->set_message(message);
    event.mutable_finished()->set_permanent(outcome == v1::Finished::FAILED);
    event.mutable_finished()->set_diverged(diverged);
    send(event);
  }

  void drain() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait_for(lock, std::chrono::minutes(4), [this] { return waiting_.empty(); });
  }

  void perform(const std::string& word, long number, const std::string& text) {
    v1::TrainerEvent event;
    if (word == "log") {
      for (long i = 0; i < number; ++i) say(absl::StrCat("line ", lines_++));
    } else if (word == "chatter") {
      const absl::Time end = absl::Now() + absl::Milliseconds(number);
      while (absl::Now() < end) {
        say(absl::StrCat("line ", lines_++));
        absl::SleepFor(absl::Milliseconds(2));
      }
    } else if (word == "stage") {
      event.mutable_stage()->set_name(text);
      send(event);
    } else if (word == "step") {
      event.mutable_step()->set_step(static_cast<uint64_t>(number));
      event.mutable_step()->set_total_steps(100);
      event.mutable_step()->set_loss(2.5);
      event.mutable_step()->mutable_memory()->set_weights(1000);
      // The step's own figure differs from the total, so that one is never taken for the other.
      event.mutable_step()->mutable_communication_bytes()->set_all_gather(10);
      event.mutable_step()->mutable_communication_total()->set_all_gather(37);
      event.mutable_step()->set_communication_dense_total_bytes(91);
      send(event);
    } else if (word == "beat") {
      event.mutable_beat()->set_step(static_cast<uint64_t>(number));
      send(event);
    } else if (word == "published") {
      event.mutable_checkpoint_published()->set_step(static_cast<uint64_t>(number));
      send(event);
    } else if (word == "rendezvous") {
      event.mutable_rendezvous_offer()->set_rank(assignment_.rank());
      event.mutable_rendezvous_offer()->set_payload(absl::StrCat("address of rank ", assignment_.rank()));
      send(event);
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return payloads_ > 0; });
      say(absl::StrCat("met ", payloads_, " ranks"));
    } else if (word == "checkpoint") {
      event.mutable_checkpoint_ready()->set_step(static_cast<uint64_t>(number));
      event.mutable_checkpoint_ready()->set_folder(
          absl::StrCat(assignment_.job_folder(), "/checkpoints/step-", number));
      send(event);
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [&] { return decision_.step() == static_cast<uint64_t>(number); });
      say(decision_.approved() ? absl::StrCat("published ", number)
                               : absl::StrCat("refused ", number, ": ", decision_.reason()));
    } else if (word == "sleep") {
      absl::SleepFor(absl::Milliseconds(number));
    } else if (word == "wait-file") {
      while (::access(text.c_str(), F_OK) != 0) absl::SleepFor(absl::Milliseconds(5));
    } else if (word == "wait-stop") {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return stopped_; });
      lock.unlock();
      say(absl::StrCat("stopping: ", stop_reason_));
      finish(v1::Finished::STOPPED, "stopped");
    } else if (word == "ignore-lease") {
      const std::lock_guard<std::mutex> lock(mutex_);
      ignore_lease_ = true;
    } else if (word == "child") {
      if (::fork() == 0) {
        while (true) ::pause();
      }
    } else if (word == "finish") {
      finish(v1::Finished::SUCCEEDED, "all steps are done");
    } else if (word == "fail") {
      finish(v1::Finished::FAILED, "the corpus is empty");
    } else if (word == "diverge") {
      finish(v1::Finished::FAILED, "the loss is not finite (nan)", true);
    } else if (word == "fail-at-length") {
      finish(v1::Finished::FAILED, absl::StrCat("begins ", std::string(static_cast<size_t>(number), 'm'), " ends"));
    } else if (word == "exit") {
      std::fflush(stdout);
      ::_exit(static_cast<int>(number));
    } else if (word == "device") {
      say(absl::StrCat(assignment_.device(), " ", assignment_.device_uuid()));
    } else if (word == "fail-device") {
      end_with_device_failure("its memory is broken");
    } else if (word == "raise") {
      ::raise(static_cast<int>(number));
    } else {
      say("unknown command " + word);
      ::_exit(96);
    }
  }

  void serve(const std::stop_token& stop) {
    FileDescriptor connection;
    FrameDecoder decoder;
    uint64_t sent = 0;
    while (!stop.stop_requested()) {
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (!ignore_lease_ && clock_.monotonic() > lease_end_) ::_exit(75);
      }
      pollfd fds[2] = {{listener_.get(), POLLIN, 0}, {connection.get(), POLLIN, 0}};
      ::poll(fds, connection.valid() ? 2 : 1, 10);
      if ((fds[0].revents & POLLIN) != 0) {
        connection = FileDescriptor(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        decoder = FrameDecoder();
        sent = 0;
      } else if (connection.valid() && fds[1].revents != 0) {
        char buffer[4096];
        const ssize_t n = ::read(connection.get(), buffer, sizeof(buffer));
        if (n <= 0) {
          connection.reset();
          continue;
        }
        decoder.append({buffer, static_cast<size_t>(n)});
        while (true) {
          auto frame = decoder.next();
          if (!frame.ok() || !frame->has_value()) break;
          v1::TrainerCommand command;
          if (command.ParseFromString(**frame)) handle(command);
        }
      }
      const std::lock_guard<std::mutex> lock(mutex_);
      for (const v1::TrainerEvent& event : waiting_) {
        if (!connection.valid() || event.sequence() <= sent) continue;
        const std::string frame = encode_frame(event.SerializeAsString());
        if (::send(connection.get(), frame.data(), frame.size(), MSG_NOSIGNAL) < 0) connection.reset();
        sent = event.sequence();
      }
    }
  }

  void handle(const v1::TrainerCommand& command) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (command.has_acknowledge()) {
      while (!waiting_.empty() && waiting_.front().sequence() <= command.acknowledge().sequence()) waiting_.pop_front();
    }
    if (command.has_lease()) lease_end_ = clock_.monotonic() + absl::Milliseconds(command.lease().milliseconds());
    if (command.has_rendezvous()) payloads_ = command.rendezvous().payloads_size();
    if (command.has_checkpoint_decision()) decision_ = command.checkpoint_decision();
    if (command.has_stop()) {
      stopped_ = true;
      stop_reason_ = command.stop().reason();
    }
    changed_.notify_all();
  }

  const v1::Job job_;
  const v1::TrainerAssignment assignment_;
  SystemClock clock_;
  FileDescriptor listener_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::TrainerEvent> waiting_;
  uint64_t sequence_ = 0;
  absl::Duration lease_end_;
  bool ignore_lease_ = false;
  int payloads_ = 0;
  v1::CheckpointDecision decision_;
  bool stopped_ = false;
  std::string stop_reason_;
  long lines_ = 0;
  std::jthread server_;  // ends before what it uses
};

}  // namespace
}  // namespace galleon

int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "--version") return 0;
  if (argc > 1 && std::string(argv[1]) == "--processor") {
    galleon::v1::ProcessorInfo processor;
    processor.set_model("none");
    processor.add_libraries()->set_name("none");
    std::fputs(processor.SerializeAsString().c_str(), stdout);
    return 0;
  }
  galleon::v1::Job job;
  galleon::v1::TrainerAssignment assignment;
  int listener = -1;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i];
    const int fd = std::atoi(argv[i + 1]);
    if (option == "--control-fd") listener = fd;
    if (option == "--job-fd" && !job.ParseFromFileDescriptor(fd)) return 99;
    if (option == "--assignment-fd" && !assignment.ParseFromFileDescriptor(fd)) return 99;
  }
  if (listener < 0) return 98;
  const int code = galleon::FakeTrainer(job, assignment, galleon::FileDescriptor(listener)).run();
  std::fflush(stdout);
  ::_exit(code);
}
