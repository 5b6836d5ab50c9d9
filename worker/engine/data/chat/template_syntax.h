// The syntax of chat templates: the part of Jinja that models' templates are written in
// (https://jinja.palletsprojects.com/templates), with white space treated as transformers has it (trim_blocks and
// lstrip_blocks).
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace galleon {

struct TemplateToken {
  enum class Kind { kText, kVariableBegin, kVariableEnd, kBlockBegin, kBlockEnd, kName, kString, kNumber, kOperator };
  Kind kind = Kind::kText;
  std::string text;
  int line = 1;
};

// INVALID_ARGUMENT: what is not closed or not understood, with its line.
absl::StatusOr<std::vector<TemplateToken>> template_tokens(absl::string_view source);

struct TemplateNode {
  enum class Kind {
    // Statements.
    kBody,        // parts
    kText,        // name: the text
    kOutput,      // parts[0]
    kIf,          // parts: condition, body, condition, body, …, and the body of else if their number is odd
    kFor,         // names: the targets; parts: what is gone through, condition or null, body, body of else or null
    kSet,         // names: the targets; name: an attribute of the only target, or empty; parts[0]: the value
    kSetBlock,    // names[0]; parts[0]: the body
    kMacro,       // name; names: parameters; parts[0]: the body, then defaults of the last parameters
    kGeneration,  // parts[0]: the body, which is an answer's text
    kBreak,
    kContinue,
    // Expressions.
    kLiteral,    // literal
    kName,       // name
    kList,       // parts
    kMap,        // parts: key, value, key, value, …
    kAttribute,  // parts[0], name
    kIndex,      // parts[0], parts[1]
    kSlice,      // parts[0], then begin, end, step, each of which may be null
    kCall,       // parts[0] is called with the rest; the last names.size() of them are given by these names
    kFilter,     // name; parts and names as of a call
    kTest,       // name; parts and names as of a call
    kNot,        // parts[0]
    kNegative,   // parts[0]
    kBinary,     // name: the operator; parts[0], parts[1]
    kCompare,    // names: the operators between parts, each of which must hold
    kChoice,     // parts[0] if parts[1] else parts[2], which may be null
  };
  Kind kind = Kind::kBody;
  int line = 1;
  std::string name;
  nlohmann::ordered_json literal;
  std::vector<std::string> names;
  std::vector<std::unique_ptr<TemplateNode>> parts;
};

// INVALID_ARGUMENT: the line and what was expected, or what this version does not have.
absl::StatusOr<std::unique_ptr<TemplateNode>> parse_template(absl::string_view source);

}  // namespace galleon
