#include "proto/jobfile/yaml_reader.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <cmath>
#include <set>
#include <sstream>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "proto/jobfile/keys.h"
#include "proto/jobfile/yaml_values.h"

namespace galleon {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

namespace {

constexpr size_t kMaxBytes = 1 << 20;
constexpr int kMaxDepth = 64;
constexpr int kMaxValues = 20000;

std::string join_key(const std::string& parent, absl::string_view name) {
  return parent.empty() ? std::string(name) : absl::StrCat(parent, ".", name);
}

// Dotted names of all keys called `name` anywhere in the job file.
void find_elsewhere(const Descriptor& message, const std::string& parent, absl::string_view name,
                    std::vector<std::string>& found) {
  for (const FieldDescriptor* field : keys_of(message)) {
    const std::string key = join_key(parent, field->name());
    if (field->name() == name) found.push_back(key);
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !field->is_map()) {
      find_elsewhere(*field->message_type(), key, name, found);
    }
  }
}

class Reader {
 public:
  Reader(const Descriptor& root, KeyLines& lines, JobIssues& issues) : root_(root), lines_(lines), issues_(issues) {}

  void read_message(const YAML::Node& node, const std::string& parent, Message& message, int depth) {
    std::set<std::string> given;
    const int line = node.Mark().line + 1;
    for (const auto& entry : node) {
      const std::string name = entry.first.IsScalar() ? entry.first.Scalar() : "";
      const std::string key = join_key(parent, name.empty() ? "?" : name);
      const int key_line = entry.first.Mark().line + 1;
      if (!count_value(key, key_line)) return;
      if (name.empty()) {
        add(key, key_line, "a key must be a word");
        continue;
      }
      const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(name);
      if (field == nullptr || key_options(*field).internal()) {
        add(key, key_line, unknown_key(*message.GetDescriptor(), name));
        continue;
      }
      if (!given.insert(name).second) {
        add(key, key_line, absl::StrCat("given twice, first in line ", lines_[key]));
        continue;
      }
      lines_[key] = key_line;
      read_field(entry.second, key, *field, message, depth + 1);
    }
    fill_defaults(message, parent, given, line);
  }

 private:
  void add(const std::string& key, int line, std::string text) { issues_.push_back({key, std::move(text), line}); }

  bool count_value(const std::string& key, int line) {
    if (++values_ == kMaxValues) add(key, line, absl::StrCat("the file expands to more than ", kMaxValues, " values"));
    return values_ < kMaxValues;
  }

  std::string unknown_key(const Descriptor& message, const std::string& name) const {
    std::vector<std::string> accepted;
    for (const FieldDescriptor* field : keys_of(message)) accepted.push_back(field->name());
    std::string suggestion = nearest_word(name, accepted);
    if (suggestion.empty()) {
      std::vector<std::string> elsewhere;
      find_elsewhere(root_, "", name, elsewhere);
      suggestion = absl::StrJoin(elsewhere, " or ");
    }
    return absl::StrCat("unknown key", suggestion.empty() ? "" : absl::StrCat("; did you mean ", suggestion, "?"),
                        suggestion.empty() ? "; accepted here: " : " Accepted here: ", absl::StrJoin(accepted, ", "));
  }

  void refuse(const YAML::Node& node, const std::string& key, const FieldDescriptor& field) {
    const std::string said = describe_value(node);
    std::string hint;
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING && node.IsScalar()) {
      hint = field.is_repeated() ? absl::StrCat(": [", node.Scalar(), "]") : absl::StrCat(": \"", node.Scalar(), "\"");
    }
    add(key, node.Mark().line + 1, absl::StrCat(said, " is not accepted; ", accepted_values(field), hint));
  }

  void read_field(const YAML::Node& node, const std::string& key, const FieldDescriptor& field, Message& message,
                  int depth) {
    const int line = node.Mark().line + 1;
    if (depth > kMaxDepth) return add(key, line, absl::StrCat("nested deeper than ", kMaxDepth, " levels"));
    if (has_foreign_tag(node)) return add(key, line, absl::StrCat("the YAML tag ", node.Tag(), " is not accepted"));
    const Reflection& reflection = *message.GetReflection();
    const bool section = field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !field.is_map();
    if (is_null(node)) {
      const v1::KeyOptions& options = key_options(field);
      const bool nullable = section || field.is_repeated() || (options.default_value().empty() && !options.required());
      if (!nullable) return refuse(node, key, field);
      if (section && !absent_by_default(field)) {
        read_message(YAML::Node(YAML::NodeType::Map), key, *reflection.MutableMessage(&message, &field), depth);
      }
      return;
    }
    if (field.is_map()) return read_map(node, key, field, message, depth);
    if (section) {
      if (!node.IsMap()) return refuse(node, key, field);
      return read_message(node, key, *reflection.MutableMessage(&message, &field), depth);
    }
    if (field.is_repeated()) return read_list(node, key, field, message, depth);
    if (!node.IsScalar() || !set_scalar(node, field, message)) refuse(node, key, field);
  }

  void read_list(const YAML::Node& node, const std::string& key, const FieldDescriptor& field, Message& message,
                 int depth) {
    if (!node.IsSequence()) return refuse(node, key, field);
    const Reflection& reflection = *message.GetReflection();
    const FieldDescriptor* weights = weights_of(field);
    std::vector<std::string> weighted;
    std::vector<std::string> plain;
    int index = 0;
    for (const YAML::Node& item : node) {
      const std::string item_key = absl::StrCat(key, "[", index++, "]");
      const int line = item.Mark().line + 1;
      if (!count_value(item_key, line)) return;
      if (lines_.count(key) > 0) lines_[item_key] = line;
      if (weights != nullptr && item.IsMap() && !has_foreign_tag(item)) {
        v1::WeightedFiles entry;
        read_message(item, item_key, entry, depth + 1);
        reflection.AddString(&message, &field, entry.path());
        reflection.AddDouble(&message, weights, entry.weight());
        weighted.push_back(item_key);
        continue;
      }
      std::string text;
      if (has_foreign_tag(item) || !item.IsScalar() || !read_string(item, text)) {
        add(item_key, line,
            absl::StrCat(describe_value(item), " is not accepted; a string",
                         item.IsScalar()                  ? absl::StrCat(": \"", item.Scalar(), "\"")
                         : item.IsMap() && item["weight"] ? weights_elsewhere(field)
                                                          : ""));
        continue;
      }
      plain.push_back(item_key);
      reflection.AddString(&message, &field, text);
    }
    if (weighted.empty()) return;
    for (const std::string& item_key : plain) {
      add(item_key, lines_[item_key],
          absl::StrCat("has no weight, and ", weighted.front(),
                       " has one; each entry of a mixture is {path: …, weight: …}"));
    }
  }

  // Which list beside this one has entries with weights.
  static std::string weights_elsewhere(const FieldDescriptor& field) {
    for (const FieldDescriptor* other : keys_of(*field.containing_type()))
      if (weights_of(*other) != nullptr) return absl::StrCat("; weights belong to ", other->name());
    return "";
  }

  void read_map(const YAML::Node& node, const std::string& key, const FieldDescriptor& field, Message& message,
                int depth) {
    if (!node.IsMap()) return refuse(node, key, field);
    // Free-form values (fields of another program's configuration) are kept as JSON; labels are plain text.
    const bool json = field.name() == "overrides";
    std::set<std::string> given;
    for (const auto& entry : node) {
      const std::string name = entry.first.IsScalar() ? entry.first.Scalar() : "";
      const std::string item_key = join_key(key, name.empty() ? "?" : name);
      const int line = entry.first.Mark().line + 1;
      if (!count_value(item_key, line)) return;
      if (name.empty()) {
        add(item_key, line, "a key must be a word");
        continue;
      }
      if (!given.insert(name).second) {
        add(item_key, line, absl::StrCat("given twice, first in line ", lines_[item_key]));
        continue;
      }
      lines_[item_key] = line;
      std::string value;
      if (json) {
        if (!to_json(entry.second, depth, value)) {
          add(item_key, line, absl::StrCat("too large or too deep to be a field of config.json"));
          continue;
        }
      } else if (entry.second.IsScalar() && !is_null(entry.second) && !has_foreign_tag(entry.second)) {
        value = entry.second.Scalar();
      } else {
        add(item_key, line, absl::StrCat(describe_value(entry.second), " is not accepted; a string"));
        continue;
      }
      Message& pair = *message.GetReflection()->AddMessage(&message, &field);
      const Descriptor& type = *pair.GetDescriptor();
      pair.GetReflection()->SetString(&pair, type.map_key(), name);
      pair.GetReflection()->SetString(&pair, type.map_value(), value);
    }
  }

  bool to_json(const YAML::Node& node, int depth, std::string& out) {
    if (depth > kMaxDepth || ++values_ >= kMaxValues || has_foreign_tag(node)) return false;
    if (node.IsSequence()) {
      absl::StrAppend(&out, "[");
      for (size_t i = 0; i < node.size(); ++i) {
        if (i > 0) absl::StrAppend(&out, ",");
        if (!to_json(node[i], depth + 1, out)) return false;
      }
      absl::StrAppend(&out, "]");
      return true;
    }
    if (node.IsMap()) {
      absl::StrAppend(&out, "{");
      bool first = true;
      for (const auto& entry : node) {
        if (!entry.first.IsScalar()) return false;
        absl::StrAppend(&out, first ? "" : ",", json_string(entry.first.Scalar()), ":");
        first = false;
        if (!to_json(entry.second, depth + 1, out)) return false;
      }
      absl::StrAppend(&out, "}");
      return true;
    }
    absl::StrAppend(&out, json_scalar(node));
    return true;
  }

  void fill_defaults(Message& message, const std::string& parent, const std::set<std::string>& given, int line) {
    for (const FieldDescriptor* field : keys_of(*message.GetDescriptor())) {
      if (given.count(field->name()) != 0) continue;
      const std::string key = join_key(parent, field->name());
      const v1::KeyOptions& options = key_options(*field);
      if (options.required()) {
        add(key, parent.empty() ? 0 : line, absl::StrCat("is required: ", options.help()));
      } else if (!options.default_value().empty()) {
        read_field(YAML::Load(options.default_value()), key, *field, message, 0);
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !field->is_map() &&
                 !absent_by_default(*field)) {
        Message& inner = *message.GetReflection()->MutableMessage(&message, field);
        fill_defaults(inner, key, {}, line);
      }
    }
  }

  const Descriptor& root_;
  KeyLines& lines_;
  JobIssues& issues_;
  int values_ = 0;
};

// Tells in which line each document has its first node.
class Documents final : public YAML::EventHandler {
 public:
  const std::vector<int>& lines() const { return lines_; }
  void OnDocumentStart(const YAML::Mark& mark) override {
    lines_.push_back(mark.line + 1);
    empty_ = true;
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override { node(mark); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { node(mark); }
  void OnScalar(const YAML::Mark& mark, const std::string&, YAML::anchor_t, const std::string&) override { node(mark); }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
    node(mark);
  }
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
    node(mark);
  }
  void OnMapEnd() override {}

 private:
  void node(const YAML::Mark& mark) {
    if (empty_) lines_.back() = mark.line + 1;
    empty_ = false;
  }
  std::vector<int> lines_;
  bool empty_ = true;
};

// The lines of the first two documents, if there are so many. The parser may find documents without end in text that is
// no YAML, so that they must not all be asked for.
std::vector<int> first_documents(const std::string& yaml) {
  std::istringstream stream(yaml);
  YAML::Parser parser(stream);
  Documents documents;
  while (documents.lines().size() < 2 && parser.HandleNextDocument(documents)) {
  }
  return documents.lines();
}

}  // namespace

void read_yaml(absl::string_view yaml, Message& message, KeyLines& lines, JobIssues& issues) {
  if (yaml.size() > kMaxBytes) {
    issues.push_back(
        {"", absl::StrCat("a job file of ", yaml.size(), " bytes is not accepted; at most ", kMaxBytes), 0});
    return;
  }
  if (const int line = first_bad_line(yaml); line != 0) {
    issues.push_back({"", "not UTF-8 text", line});
    return;
  }
  try {
    const std::vector<int> documents = first_documents(std::string(yaml));
    if (documents.size() > 1) {
      issues.push_back({"", "more than one YAML document; one is accepted", documents[1]});
      return;
    }
    const YAML::Node root = documents.empty() ? YAML::Node() : YAML::Load(std::string(yaml));
    if (!root.IsMap()) {
      issues.push_back({"", "a job file is a mapping of keys, beginning with `name:`", documents.empty() ? 0 : 1});
      return;
    }
    Reader(*message.GetDescriptor(), lines, issues).read_message(root, "", message, 0);
  } catch (const YAML::Exception& error) {
    issues.push_back({"", absl::StrCat("not YAML: ", error.msg), error.mark.line + 1});
  }
}

}  // namespace galleon
