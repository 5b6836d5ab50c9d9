// What a part of the GPU suite found: a line for each fact, which run.sh puts into its table and its JSON.
#pragma once

#include <cstdio>
#include <optional>
#include <string>

namespace galleon::gpu {

// RESULT, name, value, unit, aim, verdict; separated by tabs. A fact that must hold is "ok" or "FAILED"; a figure with
// an aim "met" or "not met", which fails nothing; one without is "measured"; "not measured" stands where the card or
// what is installed does not serve.
class Report {
 public:
  void fact(const std::string& name, bool holds, double value, const std::string& unit, const std::string& bound) {
    failed_ = failed_ || !holds;
    line(name, value, unit, bound, holds ? "ok" : "FAILED");
  }
  void at_least(const std::string& name, std::optional<double> value, const std::string& unit, double aim) {
    judged(name, value, unit, ">=", aim, value.has_value() && *value >= aim);
  }
  void at_most(const std::string& name, std::optional<double> value, const std::string& unit, double aim) {
    judged(name, value, unit, "<=", aim, value.has_value() && *value <= aim);
  }
  void figure(const std::string& name, double value, const std::string& unit) {
    line(name, value, unit, "", "measured");
  }
  int exit_code() const { return failed_ ? 1 : 0; }

 private:
  void judged(const std::string& name, std::optional<double> value, const std::string& unit, const char* sign,
              double aim, bool met) {
    char text[64];
    std::snprintf(text, sizeof(text), "%s %g", sign, aim);
    if (value.has_value()) {
      line(name, *value, unit, text, met ? "met" : "not met");
    } else {
      std::printf("RESULT\t%s\t-\t%s\t%s\tnot measured\n", name.c_str(), unit.c_str(), text);
      std::fflush(stdout);
    }
  }
  void line(const std::string& name, double value, const std::string& unit, const std::string& bound,
            const char* verdict) {
    std::printf("RESULT\t%s\t%.6g\t%s\t%s\t%s\n", name.c_str(), value, unit.c_str(), bound.c_str(), verdict);
    std::fflush(stdout);
  }
  bool failed_ = false;
};

}  // namespace galleon::gpu
