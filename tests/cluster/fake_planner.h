// A planner for tests whose jobs need no plan of their own: each has one rank of 100 MiB.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>

#include "common/base/files.h"
#include "galleon/v1/plan.pb.h"

namespace galleon {

// `folder`/planner, for ServerOptions::planner.
inline void write_planner(const std::string& folder) {
  v1::MemoryPlan plan;
  plan.add_ranks()->set_peak_bytes(100 << 20);
  ASSERT_TRUE(write_file_atomically(folder + "/plan", plan.SerializeAsString()).ok());
  ASSERT_TRUE(write_file_atomically(folder + "/planner", "#!/bin/sh\ncat " + folder + "/plan\n").ok());
  ASSERT_EQ(::chmod((folder + "/planner").c_str(), 0755), 0);
}

}  // namespace galleon
