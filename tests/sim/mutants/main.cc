// A scheduler with one of its safeguards taken out, in the simulation: it must be noticed. Exits 0 when a promise was
// broken or a check of the core failed, 1 when nothing was.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "tests/sim/cluster.h"

namespace galleon::server {
namespace {

constexpr uint64_t kSeeds = 3'000;
constexpr int kNoticed = 3;

std::string kind_of(const std::string& broken) {
  return broken.substr(0, broken.find(':'));
}

// Whether that run broke a promise, and how, told in the shortest script that still does.
bool broken_by(uint64_t seed, const Script& script) {
  const std::string broken = Cluster(script).run();
  if (broken.empty()) return false;
  std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed), broken.c_str());
  std::fflush(stdout);
  const auto fails = [&broken](const Script& s) { return kind_of(Cluster(s).run()) == kind_of(broken); };
  const Script shortest = shrink(script, fails, 1000);
  Cluster cluster(shortest);
  (void)cluster.run();
  std::printf("%s%s", shortest.text().c_str(), cluster.history(20).c_str());
  std::fflush(stdout);
  return true;
}

int look() {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    if (broken_by(seed, make_script(seed))) return kNoticed;
    // Some of it shows only where there is more to run than the fleet holds.
    if (seed % 2 == 0 && broken_by(seed, make_crowd(seed))) return kNoticed;
  }
  return 0;
}

}  // namespace
}  // namespace galleon::server

int main() {
  // A failed check ends the process that it happens in.
  const pid_t child = ::fork();
  if (child == 0) ::_exit(galleon::server::look());
  int status = 0;
  ::waitpid(child, &status, 0);
  const bool checked = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
  const bool noticed = WIFEXITED(status) && WEXITSTATUS(status) == galleon::server::kNoticed;
  std::printf("%s\n", noticed ? "noticed by a promise" : checked ? "noticed by a check of the core" : "NOT NOTICED");
  return noticed || checked ? 0 : 1;
}
