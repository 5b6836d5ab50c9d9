// A compiled regular expression over UTF-8 with Unicode classes (PCRE2, just-in-time compiled where it can be).
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace galleon {

class Regex {
 public:
  // In Oniguruma's syntax (pattern.h). INVALID_ARGUMENT: the pattern, the place and what is wrong with it.
  static absl::StatusOr<Regex> compile(const std::string& pattern);
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // State of one search; each thread has its own.
  class Matcher {
   public:
    explicit Matcher(const Regex& regex);
    ~Matcher();
    Matcher(const Matcher&) = delete;
    Matcher& operator=(const Matcher&) = delete;
    // The first match in `text` (valid UTF-8) that begins at or after `from`; empty matches are skipped. False: none.
    bool find(absl::string_view text, size_t from, size_t& begin, size_t& end);

   private:
    const Regex& regex_;
    void* data_;
  };

 private:
  explicit Regex(void* code) : code_(code) {}
  void* code_ = nullptr;
};

}  // namespace galleon
