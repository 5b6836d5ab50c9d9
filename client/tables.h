// Jobs, workers and queues as tables and documents, for the commands that list them.
#pragma once

#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/output.h"
#include "galleon/v1/groups.pb.h"
#include "galleon/v1/jobs.pb.h"
#include "galleon/v1/queues.pb.h"
#include "galleon/v1/workers.pb.h"

namespace galleon {

std::string job_table(const std::vector<v1::JobRecord>& jobs);
// The same, with one line for each group of jobs, where the newest of them would stand. `groups`: what the service says
// of them whole; of those that are not there, the jobs that are given count.
std::string folded_job_table(const std::vector<v1::JobRecord>& jobs, const std::vector<v1::Group>& groups);
// "3 running, 2 queued, 1 cancelled".
std::string states_text(const v1::Group& group);
// With project, owner, priority, ranks, times, labels and note too.
std::string wide_job_table(const std::vector<v1::JobRecord>& jobs);
// "team=nlp, try=3", in the order of the alphabet.
std::string labels_text(const v1::Job& job);
// The jobs of `top`: those that run, then those that wait, the next to start first. `room`: jobs at most; 0: all.
std::string top_jobs(std::vector<v1::JobRecord> jobs, size_t room);
std::string worker_table(const std::vector<v1::Worker>& workers);
std::string queue_table(const std::vector<v1::Queue>& queues);
// Who uses them; empty where nobody has a name.
std::string queue_users_table(const std::vector<v1::Queue>& queues);
// What projects and their users have, beside what they may.
std::string project_table(const std::vector<v1::Project>& projects);

void print_message(const google::protobuf::Message& message, OutputFormat format);

// A JSON array, or a YAML sequence.
template <typename Messages>
void print_list(const Messages& messages, OutputFormat format) {
  std::string json = "[";
  for (const auto& message : messages) absl::StrAppend(&json, json.size() > 1 ? ",\n" : "\n", to_json(message));
  json += "]\n";
  std::cout << (format == OutputFormat::kJson ? json : to_yaml(json));
}

}  // namespace galleon
