#include "worker/engine/ranks/nccl_communicator.h"

#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

// Between two looks at what the GPU does: short beside an exchange, long beside a look.
constexpr absl::Duration kBetweenLooks = absl::Microseconds(50);

class OverNccl final : public NcclCommunicator {
 public:
  OverNccl(Device& device, std::unique_ptr<Communicator> hosts, NcclApi& api, const NcclOptions& options)
      : NcclCommunicator(device, hosts->rank(), hosts->ranks()),
        hosts_(std::move(hosts)),
        api_(api),
        options_(options) {}

  ~OverNccl() override {
    if (comm_ != nullptr) {
      // Destroying waits for the others, aborting does not.
      const bool sound = status().ok() && under_way_.empty() && api_.state(comm_).ok();
      sound ? api_.destroy(comm_) : api_.abort(comm_);
    }
    give_events_back();
    for (const NcclApi::Event event : free_events_) api_.destroy_event(event);
    if (stream_ != nullptr) api_.destroy_stream(stream_);
  }

  absl::Status start() {
    if (stream_ == nullptr) {
      absl::StatusOr<NcclApi::Stream> stream = api_.create_stream();
      if (!stream.ok()) return stream.status();
      stream_ = *stream;
    }
    // Rank 0 draws the id, or tells why it cannot.
    std::string told;
    if (rank() == 0) {
      const absl::StatusOr<std::string> id = api_.unique_id();
      told = id.ok() ? absl::StrCat("I", *id) : absl::StrCat("E", id.status().message());
    }
    told = hosts_->all_gather_text(told)[0];
    if (!hosts_->status().ok()) return hosts_->status();
    if (told.empty() || told[0] != 'I')
      return absl::UnavailableError(absl::StrCat("rank 0 cannot begin: ", told.empty() ? "" : told.substr(1)));
    absl::StatusOr<NcclApi::Comm> comm = api_.begin_init(rank(), ranks(), told.substr(1));
    if (!comm.ok()) return comm.status();
    comm_ = *comm;
    absl::Status begun = settle(absl::Now() + options_.init_timeout, "NCCL did not begin on all ranks");
    if (!begun.ok()) abort();
    return begun;
  }

  absl::Status recreate() override {
    abort();
    clear_status();
    return start();
  }

  void all_reduce_host(std::vector<double>& values) override {
    if (!status().ok()) return;
    hosts_->set_step(step());
    hosts_->all_reduce_host(values);
    fail(hosts_->status());
  }

  std::vector<std::string> all_gather_text(const std::string& text) override {
    if (!status().ok()) return std::vector<std::string>(ranks());
    hosts_->set_step(step());
    std::vector<std::string> all = hosts_->all_gather_text(text);
    fail(hosts_->status());
    return all;
  }

  double waited_seconds() const override { return waited_ + hosts_->waited_seconds(); }

 protected:
  absl::Status exchange(absl::Span<const Outgoing> out, absl::Span<const Incoming> in) override {
    const absl::StatusOr<int64_t> ticket = begin_exchange(out, in);
    return ticket.ok() ? finish_exchanges(*ticket) : ticket.status();
  }

  // The stream waits for what computes the data, and everything goes in one group, so that no order of sends and
  // receives can lock ranks up.
  absl::StatusOr<int64_t> begin_exchange(absl::Span<const Outgoing> out, absl::Span<const Incoming> in) override {
    absl::StatusOr<NcclApi::Event> computed = take_event();
    if (!computed.ok()) return computed.status();
    absl::Status good = api_.record(*computed, nullptr);
    good.Update(api_.wait(stream_, *computed));
    free_events_.push_back(*computed);
    if (good.ok()) good = api_.group_start();
    for (const Outgoing& message : out) {
      if (good.ok()) good = api_.send(comm_, message.data, message.bytes, message.to, stream_);
    }
    for (const Incoming& message : in) {
      if (good.ok()) good = api_.receive(comm_, message.data, message.bytes, message.from, stream_);
    }
    if (good.ok()) good = api_.group_end();
    if (good.ok()) good = settle(absl::Now() + options_.hang_timeout, "it hangs before anything has moved");
    if (!good.ok()) return failed(good);
    absl::StatusOr<NcclApi::Event> moved = take_event();
    if (!moved.ok()) return moved.status();
    if (absl::Status s = api_.record(*moved, stream_); !s.ok()) return failed(s);
    under_way_.push_back({++last_ticket_, *moved});
    return last_ticket_;
  }

  absl::Status finish_exchanges(int64_t ticket) override {
    const absl::Time start = absl::Now();
    while (!under_way_.empty() && under_way_.front().ticket <= ticket) {
      const NcclApi::Event event = under_way_.front().event;
      while (true) {
        const absl::StatusOr<bool> done = api_.done(event);
        if (!done.ok()) return failed(done.status());
        if (*done) break;
        // An error on the way, such as a peer that is gone, shows here and not in the event.
        const absl::Status state = api_.state(comm_);
        if (!state.ok() && !absl::IsUnavailable(state)) return failed(state);
        if (absl::Now() > start + options_.hang_timeout) {
          return failed(absl::DeadlineExceededError(
              absl::StrCat("it hangs: not done after ", absl::FormatDuration(options_.hang_timeout))));
        }
        absl::SleepFor(kBetweenLooks);
      }
      // What computes next sees what has come.
      if (absl::Status s = api_.wait(nullptr, event); !s.ok()) return failed(s);
      free_events_.push_back(event);
      under_way_.pop_front();
    }
    waited_ += absl::ToDoubleSeconds(absl::Now() - start);
    return absl::OkStatus();
  }

 private:
  struct UnderWay {
    int64_t ticket;
    NcclApi::Event event;
  };

  // Waits until what was asked of NCCL without blocking is accepted.
  absl::Status settle(absl::Time deadline, const char* otherwise) {
    while (true) {
      absl::Status state = api_.state(comm_);
      if (!absl::IsUnavailable(state)) return state;
      if (absl::Now() > deadline) return absl::DeadlineExceededError(otherwise);
      absl::SleepFor(kBetweenLooks);
    }
  }

  absl::StatusOr<NcclApi::Event> take_event() {
    if (free_events_.empty()) return api_.create_event();
    const NcclApi::Event event = free_events_.back();
    free_events_.pop_back();
    return event;
  }

  void give_events_back() {
    for (const UnderWay& one : under_way_) free_events_.push_back(one.event);
    under_way_.clear();
  }

  void abort() {
    if (comm_ != nullptr) api_.abort(comm_);
    comm_ = nullptr;
    give_events_back();
  }

  // No other rank must be left waiting inside NCCL for this one.
  absl::Status failed(const absl::Status& why) {
    abort();
    return why;
  }

  std::unique_ptr<Communicator> hosts_;
  NcclApi& api_;
  NcclOptions options_;
  NcclApi::Comm comm_ = nullptr;
  NcclApi::Stream stream_ = nullptr;
  std::vector<NcclApi::Event> free_events_;
  std::deque<UnderWay> under_way_;
  int64_t last_ticket_ = 0;
  double waited_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<NcclCommunicator>> make_nccl_communicator(Device& device,
                                                                         std::unique_ptr<Communicator> hosts,
                                                                         NcclApi& api, const NcclOptions& options) {
  auto communicator = std::make_unique<OverNccl>(device, std::move(hosts), api, options);
  RETURN_IF_ERROR(communicator->start());
  return communicator;
}

}  // namespace galleon
