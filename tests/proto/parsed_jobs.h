// Job files in tests: one of the keys that must be there, and what parsing says.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "proto/jobfile/jobfile.h"

namespace galleon {

inline constexpr char kMinimal[] = R"(name: small
task: pretrain
model: {source: preset:llama-60m}
tokenizer: tokenizer.model
data: {train: [c4/*.json.gz]}
training: {steps: 10000}
)";

inline v1::Job parse_good(const std::string& yaml, absl::string_view folder = "") {
  absl::StatusOr<v1::Job> job = parse_job(yaml, "job.yaml", folder);
  EXPECT_TRUE(job.ok()) << job.status().message();
  return job.ok() ? *job : v1::Job();
}

inline std::string parse_bad(const std::string& yaml) {
  absl::StatusOr<v1::Job> job = parse_job(yaml, "job.yaml", "");
  EXPECT_FALSE(job.ok()) << yaml;
  if (job.ok()) return "";
  EXPECT_EQ(job.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(job.status().message());
}

}  // namespace galleon
