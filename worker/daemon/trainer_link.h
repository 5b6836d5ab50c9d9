// The daemon's end of the Unix socket to one trainer. Never blocks.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/base/files.h"
#include "common/base/frame.h"
#include "galleon/v1/trainer.pb.h"

namespace galleon {

class TrainerLink {
 public:
  // NOT_FOUND or UNAVAILABLE while the trainer does not listen yet.
  absl::Status connect(const std::string& path);
  bool connected() const { return socket_.valid(); }
  int fd() const { return socket_.get(); }
  bool wants_to_write() const { return !outgoing_.empty(); }

  // Whole events that have arrived. Closes the link at its end or at bytes that are no event.
  std::vector<v1::TrainerEvent> receive();
  void send(const v1::TrainerCommand& command);
  // Writes what the socket takes now.
  void flush();
  void close();

 private:
  FileDescriptor socket_;
  FrameDecoder decoder_;
  std::string outgoing_;
};

}  // namespace galleon
