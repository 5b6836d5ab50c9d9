#include "server/core/transitions.h"

#include <gtest/gtest.h>

#include <set>
#include <utility>

namespace galleon::server {
namespace {

using J = v1::JobRecord;

// Written out once more, by hand: a change of the table must be made twice, on purpose.
const std::set<std::pair<int, int>> kAllowed = {
    {J::QUEUED, J::RESERVED},      {J::QUEUED, J::CANCELLED},      {J::QUEUED, J::FAILED},
    {J::RESERVED, J::STARTING},    {J::RESERVED, J::PREEMPTING},   {J::RESERVED, J::CANCELLING},
    {J::RESERVED, J::QUEUED},      {J::RESERVED, J::FAILED},       {J::STARTING, J::RUNNING},
    {J::STARTING, J::PREEMPTING},  {J::STARTING, J::CANCELLING},   {J::STARTING, J::QUEUED},
    {J::STARTING, J::FAILED},      {J::RUNNING, J::SUCCEEDED},     {J::RUNNING, J::PREEMPTING},
    {J::RUNNING, J::CANCELLING},   {J::RUNNING, J::QUEUED},        {J::RUNNING, J::FAILED},
    {J::PREEMPTING, J::SUCCEEDED}, {J::PREEMPTING, J::CANCELLING}, {J::PREEMPTING, J::QUEUED},
    {J::PREEMPTING, J::FAILED},    {J::CANCELLING, J::CANCELLED},
};

TEST(Transitions, EveryPairOfStatesIsAsTheTableSays) {
  for (int from = J::State_MIN; from <= J::State_MAX; ++from) {
    for (int to = J::State_MIN; to <= J::State_MAX; ++to) {
      EXPECT_EQ(transition_allowed(static_cast<J::State>(from), static_cast<J::State>(to)),
                kAllowed.contains({from, to}))
          << J::State_Name(static_cast<J::State>(from)) << " to " << J::State_Name(static_cast<J::State>(to));
    }
  }
}

TEST(Transitions, TerminalStatesHaveNoSuccessorAndAllOthersReachOne) {
  for (int state = J::QUEUED; state <= J::State_MAX; ++state) {
    std::set<int> reached = {state};
    for (size_t before = 0; before != reached.size();) {
      before = reached.size();
      for (const auto& [from, to] : kAllowed) {
        if (reached.contains(from)) reached.insert(to);
      }
    }
    if (is_terminal(static_cast<J::State>(state))) {
      EXPECT_EQ(reached.size(), 1U) << state;
    } else {
      EXPECT_TRUE(reached.contains(J::CANCELLED)) << state;
      EXPECT_EQ(reached.contains(J::FAILED) && reached.contains(J::SUCCEEDED), state != J::CANCELLING) << state;
    }
    EXPECT_FALSE(is_terminal(static_cast<J::State>(state)) && is_active(static_cast<J::State>(state)));
  }
}

}  // namespace
}  // namespace galleon::server
