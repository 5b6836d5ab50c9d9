// What a part of the GPU suite found: a line for each fact, which run.sh puts into its table and its JSON.
#pragma once

#include <cstdio>
#include <string>

namespace galleon::gpu {

// RESULT, name, value, unit, aim, verdict; separated by tabs. A fact that must hold is "ok" or "FAILED"; a figure with
// an aim "ok" or "below aim", which fails nothing; one without is "measured".
class Report {
 public:
  void fact(const std::string& name, bool holds, double value, const std::string& unit, const std::string& bound) {
    failed_ = failed_ || !holds;
    line(name, value, unit, bound, holds ? "ok" : "FAILED");
  }
  void at_least(const std::string& name, double value, const std::string& unit, double aim) {
    char text[64];
    std::snprintf(text, sizeof(text), ">= %g", aim);
    line(name, value, unit, text, value >= aim ? "ok" : "below aim");
  }
  void at_most(const std::string& name, double value, const std::string& unit, double aim) {
    char text[64];
    std::snprintf(text, sizeof(text), "<= %g", aim);
    line(name, value, unit, text, value <= aim ? "ok" : "below aim");
  }
  void figure(const std::string& name, double value, const std::string& unit) {
    line(name, value, unit, "", "measured");
  }
  int exit_code() const { return failed_ ? 1 : 0; }

 private:
  void line(const std::string& name, double value, const std::string& unit, const std::string& bound,
            const char* verdict) {
    std::printf("RESULT\t%s\t%.6g\t%s\t%s\t%s\n", name.c_str(), value, unit.c_str(), bound.c_str(), verdict);
    std::fflush(stdout);
  }
  bool failed_ = false;
};

}  // namespace galleon::gpu
