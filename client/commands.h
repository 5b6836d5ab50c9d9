// What the subcommands of `galleon` do. Each returns the exit code of the program.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/output.h"
#include "client/selection.h"

namespace grpc {
class ChannelCredentials;
}  // namespace grpc

namespace galleon {

struct TrainArguments {
  std::string job;
  std::string output;
  int ranks = 0;    // 0: the job file's
  int threads = 0;  // of each rank; 0: the machine's cores over the ranks here
  // Of a run on several machines: which ranks run here ("2" or "2-3"; empty: all), where they meet (a folder or
  // HOST:PORT; empty: this machine alone), the file with the secret for HOST:PORT, and what they speak over.
  std::string here;
  std::string meet;
  std::string secret_file;
  std::string interface;
  double meet_within = 0;  // seconds; 0: a minute, with several machines ten
};
int run_train(const TrainArguments& arguments);
// `gpu`: a card on which a step is predicted; empty: none.
int run_plan(const std::string& job, const std::string& gpu, OutputFormat format);
// `galleon-trainer` with the same arguments: evaluate, generate, tokenize.
int run_trainer(const std::vector<std::string>& arguments);

struct Remote {
  std::string server;
  OutputFormat format = OutputFormat::kTable;
  std::shared_ptr<grpc::ChannelCredentials> credentials = {};  // null: none
  std::function<std::string()> explain = {};                   // what is wrong with TLS, where nobody can be reached
};

class JobClient;
JobClient client_of(const Remote& remote);

// Where a job's model is read, and its tokenizer and data are looked for, before it is submitted.
enum class InputsOn { kAuto, kHere, kWorker };

struct SubmitArguments {
  std::string job;
  std::string request_id;                  // empty: drawn
  std::vector<std::string> settings = {};  // KEY=VALUE of the job file
  // KEY=VALUE,VALUE: a job for each, and of several keys for each of their combinations.
  std::vector<std::string> sweeps = {};
  uint32_t max_running = 0;                     // of a sweep's jobs at a time; 0: as many as fit
  std::vector<uint64_t> stop_worst_after = {};  // steps at which the worse half of them ends
  InputsOn inputs = InputsOn::kAuto;
  std::vector<std::string> attach = {};  // keys whose files are sent with the job
  bool validate_only = false;
  bool allow_pending = false;  // also where no worker of now could hold it
  bool watch = false;
  bool wait = false;
};
int run_submit(const Remote& remote, const SubmitArguments& arguments);
int run_sweep(const Remote& remote, const SubmitArguments& arguments);
// A group and its jobs. The exit code of waiting: 0 if all have succeeded, or ended with the worse half; 1 if one has
// failed; 2 if one was cancelled; 3 and kOwnError as run_wait().
int run_get_group(const Remote& remote, const std::string& group);
int run_wait_group(const Remote& remote, const std::string& group, double timeout_seconds);
struct ListArguments {
  Selection which = {};     // its names stay empty
  std::string prefix = {};  // of the job's id
  std::string since = {};   // "10m" ago, a day or a time; empty: whenever
  std::string sort = "newest";
  size_t limit = 0;  // 0: all
  bool wide = false;
  bool members = false;  // the jobs of a group each in a line of its own
};
int run_list(const Remote& remote, const ListArguments& arguments);
int run_get(const Remote& remote, const Selection& selection, bool job_file = false);
int run_watch(const Remote& remote, const std::string& job);
struct LogsArguments {
  uint32_t attempt = 0;  // 0: the newest
  uint32_t rank = 0;
  bool follow = false;
  bool raw = false;        // as it was printed, with what a terminal obeys
  uint32_t tail = 0;       // lines; 0: all
  std::string since = {};  // only what is no older; empty: all
};
int run_logs(const Remote& remote, const std::string& job, const LogsArguments& arguments);
// Orders for jobs. Each job is told of; the exit code is 1 where one of them failed.
int run_cancel(const Remote& remote, const Selection& selection, const std::string& reason);
int run_hold(const Remote& remote, const Selection& selection, const std::string& reason, bool preempt);
int run_release(const Remote& remote, const Selection& selection);
int run_requeue(const Remote& remote, const Selection& selection, const std::string& reason);
int run_delete(const Remote& remote, const Selection& selection, bool keep_checkpoints);
// `settings`: "KEY=VALUE" of the job file; with some the one job that is named becomes a new one that begins with its
// newest checkpoint.
int run_resume(const Remote& remote, const Selection& selection, const std::vector<std::string>& settings);
// 0, 1, 2 for SUCCEEDED, FAILED, CANCELLED; 3 when `timeout_seconds` (0: none) have passed; kOwnError if it cannot
// tell.
inline constexpr int kOwnError = 4;
int run_wait(const Remote& remote, const std::string& job, double timeout_seconds);
int run_workers(const Remote& remote);
int run_queues(const Remote& remote);
int run_projects(const Remote& remote);
// What happened to a job, a worker ("workers/ID"), or everything (empty).
int run_events(const Remote& remote, const std::string& subject, bool follow);
int run_reprioritize(const Remote& remote, const Selection& selection, std::optional<int32_t> priority,
                     const std::string& queue);
enum class WorkerOrder { kCordon, kDrain, kUndrain };
struct DrainWait {
  bool wait = false;    // until it is DRAINED, or GONE
  double deadline = 0;  // seconds, then exit code 3; 0: none
};
int run_order(const Remote& remote, const std::string& worker, WorkerOrder order, const std::string& reason,
              const DrainWait& drain = {});
int run_forget(const Remote& remote, const std::string& worker);
// Queues, jobs and workers, again and again; with `once` one time.
int run_top(const Remote& remote, bool once);
// A file that is there is replaced with `yes`, or after the question on a terminal; anything but a file is refused.
int run_backup(const Remote& remote, const std::string& file, bool yes);
int run_reload(const Remote& remote, bool validate_only);
struct InitTlsArguments {
  std::string folder;
  std::vector<std::string> hosts;
  std::string client;  // not empty: one more client of the authority that is there
  bool token = false;  // a token beside its certificate
  uint32_t days = 3650;
};
int run_init_tls(const InitTlsArguments& arguments);
// Results of several jobs, or of groups of them, side by side.
struct CompareArguments {
  std::vector<std::string> jobs;  // or groups
  bool csv = false;
  std::string plot = {};  // an SVG with their curves; empty: none
  bool logarithmic = false;
};
int run_compare(const Remote& remote, const CompareArguments& arguments);
int run_attempts(const Remote& remote, const std::string& job);

// Prints "galleon: MESSAGE" for each line on standard error and returns 1.
int fail(const std::string& message);
// galleon-trainer beside this program, or GALLEON_TRAINER.
std::string trainer_path();

}  // namespace galleon
