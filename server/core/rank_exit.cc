#include "server/core/rank_exit.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace galleon::server {

v1::RankExit exit_of(const v1::RankReport& report) {
  v1::RankExit exit;
  exit.set_exit_code(report.exit_code());
  exit.set_exit_signal(report.exit_signal());
  exit.set_out_of_memory(report.out_of_memory());
  exit.set_message(report.finished().message());
  if (report.device_failed()) {
    exit.set_kind(v1::RankExit::DEVICE_FAILED);
    return exit;
  }
  if (report.finished().place_fault() == v1::PLACE_FAULT_OUTSIDE) {
    exit.set_kind(v1::RankExit::OUTSIDE_FAILED);
    return exit;
  }
  if (report.finished().place_fault() != v1::PLACE_FAULT_UNSPECIFIED) {
    exit.set_kind(v1::RankExit::PLACE_FAILED);
    exit.set_doubtful(report.finished().place_fault() == v1::PLACE_FAULT_DOUBTFUL);
    return exit;
  }
  switch (report.finished().outcome()) {
    case v1::Finished::SUCCEEDED:
      exit.set_kind(v1::RankExit::SUCCEEDED);
      return exit;
    case v1::Finished::STOPPED:
      exit.set_kind(v1::RankExit::STOPPED);
      return exit;
    case v1::Finished::FAILED:
      exit.set_kind(v1::RankExit::FAILED);
      exit.set_permanent(report.finished().permanent());
      return exit;
    default:
      break;
  }
  const absl::string_view lines = absl::StripTrailingAsciiWhitespace(report.last_lines());
  const absl::string_view last = lines.substr(lines.rfind('\n') == absl::string_view::npos ? 0 : lines.rfind('\n') + 1);
  if (report.out_of_memory()) {
    exit.set_kind(v1::RankExit::SIGNALLED);
    exit.set_message("was ended because the machine ran out of memory");
  } else if (report.signalled_by_daemon()) {
    exit.set_kind(v1::RankExit::ENDED_BY_DAEMON);
    exit.set_message("was ended by its worker");
  } else if (report.exit_signal() != 0) {
    exit.set_kind(v1::RankExit::SIGNALLED);
    exit.set_message(absl::StrCat("was ended by signal ", report.exit_signal()));
  } else {
    exit.set_kind(v1::RankExit::FAILED);
    exit.set_message(absl::StrCat("ended with code ", report.exit_code(), " and no word",
                                  last.empty() ? "" : "; its log ends: ", last));
  }
  return exit;
}

}  // namespace galleon::server
