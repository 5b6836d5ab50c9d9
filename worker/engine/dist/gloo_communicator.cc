// Ranks over TCP with Gloo's point-to-point buffers. The collectives above are ours; Gloo moves the messages.
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/store.h>
#include <gloo/transport/tcp/device.h>
#include <gloo/transport/unbound_buffer.h>

#include <exception>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "worker/engine/dist/communicator.h"

namespace galleon {

namespace {

// Gloo asks each rank to store its addresses under its number and then reads the others'; a rendezvous does just that.
// Before, it stores host names as "rank_N" to count ranks of one machine, which nothing here needs: each rank answers
// for the others.
class RendezvousStore final : public gloo::rendezvous::Store {
 public:
  RendezvousStore(Rendezvous& rendezvous, int rank, int ranks, absl::Duration timeout)
      : rendezvous_(rendezvous), rank_(rank), ranks_(ranks), timeout_(timeout) {}

  void set(const std::string& key, const std::vector<char>& data) override {
    if (absl::StartsWith(key, kHostPrefix)) return;
    absl::StatusOr<std::vector<std::string>> all =
        rendezvous_.exchange(rank_, ranks_, std::string(data.begin(), data.end()), timeout_);
    if (!all.ok()) {
      status_ = all.status();
      throw gloo::IoException(std::string(status_.message()));
    }
    payloads_ = *std::move(all);
  }
  std::vector<char> get(const std::string& key) override {
    if (absl::StartsWith(key, kHostPrefix)) return {key.begin(), key.end()};
    size_t index = 0;
    if (!absl::SimpleAtoi(key, &index) || index >= payloads_.size())
      throw gloo::IoException("unexpected rendezvous key " + key);
    return {payloads_[index].begin(), payloads_[index].end()};
  }
  void wait(const std::vector<std::string>&) override {}
  void wait(const std::vector<std::string>&, const std::chrono::milliseconds&) override {}
  const absl::Status& status() const { return status_; }

 private:
  static constexpr const char* kHostPrefix = "rank_";
  Rendezvous& rendezvous_;
  int rank_;
  int ranks_;
  absl::Duration timeout_;
  absl::Status status_;
  std::vector<std::string> payloads_;
};

class GlooCommunicator final : public Communicator {
 public:
  GlooCommunicator(Device& device, int rank, int ranks, std::shared_ptr<gloo::rendezvous::Context> context,
                   absl::Duration timeout)
      : Communicator(device, rank, ranks),
        context_(std::move(context)),
        timeout_(absl::ToChronoMilliseconds(timeout)) {}

 protected:
  absl::Status exchange(const void* send, int64_t send_bytes, int to, void* receive, int64_t receive_bytes,
                        int from) override {
    try {
      std::unique_ptr<gloo::transport::UnboundBuffer> in;
      std::unique_ptr<gloo::transport::UnboundBuffer> out;
      if (from >= 0) {
        in = context_->createUnboundBuffer(receive, receive_bytes);
        in->recv(from, slot_);
      }
      if (to >= 0) {
        out = context_->createUnboundBuffer(const_cast<void*>(send), send_bytes);
        out->send(to, slot_);
      }
      if (in && !in->waitRecv(timeout_)) return absl::UnavailableError("aborted");
      if (out && !out->waitSend(timeout_)) return absl::UnavailableError("aborted");
      return absl::OkStatus();
    } catch (const std::exception& e) {
      return absl::UnavailableError(
          absl::StrCat("rank ", rank(), " of ", ranks(), " lost its connection to a peer: ", e.what()));
    }
  }

 private:
  static constexpr uint64_t slot_ = 1;  // messages of one pair keep their order
  std::shared_ptr<gloo::rendezvous::Context> context_;
  std::chrono::milliseconds timeout_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> make_gloo_communicator(Device& device, int rank, int ranks,
                                                                     Rendezvous& rendezvous,
                                                                     const GlooOptions& options) {
  RendezvousStore store(rendezvous, rank, ranks, options.connect_timeout);
  try {
    gloo::transport::tcp::attr attributes(options.hostname.c_str());
    std::shared_ptr<gloo::transport::Device> network = gloo::transport::tcp::CreateDevice(attributes);
    auto context = std::make_shared<gloo::rendezvous::Context>(rank, ranks);
    context->setTimeout(absl::ToChronoMilliseconds(options.connect_timeout));
    context->connectFullMesh(store, network);
    context->setTimeout(absl::ToChronoMilliseconds(options.message_timeout));
    return std::make_unique<GlooCommunicator>(device, rank, ranks, std::move(context), options.message_timeout);
  } catch (const std::exception& e) {
    if (!store.status().ok()) return store.status();
    return absl::UnavailableError(
        absl::StrCat("rank ", rank, " of ", ranks, " could not connect to its peers: ", e.what()));
  }
}

}  // namespace galleon
