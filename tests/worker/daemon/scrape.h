// One scrape of a metrics endpoint that a ready file names.
#pragma once

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "nlohmann/json.hpp"

namespace galleon {

inline std::string scrape(const std::string& ready_file) {
  const auto ready = nlohmann::json::parse(read_file(ready_file).value_or("{}"), nullptr, false);
  const std::string address = ready.value("metrics", "");
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return "";
  FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in target{};
  target.sin_family = AF_INET;
  target.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(colon + 1))));
  target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&target), sizeof(target)) != 0) return "";
  if (!write_all(socket.get(),
                 absl::StrCat("GET /metrics HTTP/1.1\r\nHost: ", address, "\r\nConnection: close\r\n\r\n"))
           .ok())
    return "";
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = ::read(socket.get(), buffer, sizeof(buffer))) > 0;) text.append(buffer, static_cast<size_t>(n));
  return text;
}

}  // namespace galleon
