// Two texts of "key: value" lines, compared for a person.
#pragma once

#include <string>

namespace galleon {

// Every key whose value is not the same, as "key (a in_one, b in_two)"; "unset" stands for a key that one does not
// have. in_one, in_two: such as "in the checkpoint" and "now".
std::string differing_lines(const std::string& one, const std::string& two, const std::string& in_one,
                            const std::string& in_two);

}  // namespace galleon
