// What the scheduler does in a second, beside its load on the same cores: durable submits over mutual TLS, dispatches
// with simulated workers, decision passes over long queues, recovery, and workers that renew their leases.
//   bench_scheduler [--only WHAT] [--json FILE] [--seconds N] [--jobs N] [--workers N]
//   bench_scheduler --only submits|recovery --store postgresql://…   of a database without tables, for stores.py
//   bench_scheduler --fill FOLDER --jobs N     a data folder in which N jobs have ended, for load.py
//   bench_scheduler --load ADDRESS             what callers see of a scheduler that runs, for load.py
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/time/clock.h"
#include "figures.h"

int main(int argc, char** argv) {
  namespace bench = galleon::bench;
  CLI::App app{"Figures of the scheduler."};
  std::string json;
  double seconds = 5;
  std::string only;
  std::string store;
  std::string filled;
  std::string address;
  int lists = 1'000;
  int submits = 3'000;
  int jobs = 100'000;
  int workers = 5'000;
  std::string scheduler =
      (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "galleon-scheduler").string();
  app.add_option("--json", json, "write the figures to this file");
  app.add_option("--seconds", seconds, "of each load")->capture_default_str();
  app.add_option("--jobs", jobs, "for the recovery, and queued before the last submits")->capture_default_str();
  app.add_option("--workers", workers, "that renew their leases")->capture_default_str();
  app.add_option("--scheduler", scheduler, "the executable that they talk to")->capture_default_str();
  app.add_option("--fill", filled, "make this folder one of a scheduler in which --jobs jobs have ended, and end");
  app.add_option("--load", address, "figures of the scheduler that listens there, and end");
  app.add_option("--lists", lists, "of --load, for a thousand jobs each")->capture_default_str();
  app.add_option("--submits", submits, "of --load")->capture_default_str();
  app.add_option("--store", store, "of submits and recovery, which is then run with --jobs alone");
  app.add_option("--only", only, "passes, recovery, dispatches, submits or heartbeats");
  CLI11_PARSE(app, argc, argv);
  if (!filled.empty()) {
    bench::fill_ended(filled, jobs, absl::ToUnixMillis(absl::Now()));
    bench::write_planner(filled + "/planner.sh");
    return 0;
  }
  bench::Json figures;
  if (!address.empty()) {
    figures = bench::load(address, submits, lists);
    std::printf("%s\n", figures.dump().c_str());
    return 0;
  }
  figures["cores"] = std::thread::hardware_concurrency();
  const auto add = [&figures](const char* name, const bench::Json& figure) {
    figures[name].push_back(figure);
    std::printf("%s: %s\n", name, figure.dump().c_str());
    std::fflush(stdout);
  };
  const auto wanted = [&only](const char* name) { return only.empty() || only == name; };
  if (wanted("passes")) {
    for (const int queued : {1'000, 10'000, 50'000}) add("decision_pass", bench::decision_pass(queued, 1'000));
  }
  if (wanted("recovery")) {
    if (store.empty()) add("recovery", bench::recovery(jobs / 10, store));
    add("recovery", bench::recovery(jobs, store));
  }
  if (wanted("dispatches")) {
    for (const int fleet : {20, 200, 1'000}) add("dispatches", bench::dispatches(fleet, seconds));
  }
  if (wanted("submits")) {
    if (store.empty()) {
      for (const int queued : {0, jobs / 10}) add("submits_mtls", bench::submits(seconds, 32, queued, store));
    }
    add("submits_mtls", bench::submits(seconds, 32, jobs, store));
  }
  if (wanted("heartbeats")) {
    for (const int fleet : {workers / 10, workers}) add("heartbeats", bench::heartbeats(scheduler, fleet, seconds));
  }
  if (!json.empty()) std::ofstream(json) << figures.dump(2) << "\n";
  return 0;
}
