#include "worker/engine/data/chat/chat_template.h"

#include <map>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "worker/engine/data/chat/template_values.h"

namespace galleon {
namespace {

using Node = TemplateNode;
using Kind = TemplateNode::Kind;
using Value = TemplateValue;

// Far beyond what a conversation needs; a template that goes on and on ends here.
constexpr int64_t kMostWork = 20'000'000;
constexpr size_t kMostText = size_t{64} << 20;
constexpr int kDeepestCall = 50;

// Functions that templates can call and ask for.
bool is_function(const std::string& name) {
  for (const char* known : {"raise_exception", "namespace", "dict", "range", "strftime_now"}) {
    if (name == known) return true;
  }
  return false;
}

// One rendering. After the first error every evaluation is undefined and every loop ends.
class Renderer {
 public:
  Renderer(const Value& variables, absl::CivilDay day) : day_(day) {
    scopes_.emplace_back();
    for (auto it = variables.begin(); it != variables.end(); ++it) scopes_.back()[it.key()] = *it;
    scopes_.emplace_back();
  }

  absl::StatusOr<RenderedChat> run(const Node& body) {
    execute(body);
    if (!status_.ok()) return status_;
    return RenderedChat{std::move(out_), std::move(generated_)};
  }

 private:
  enum class Flow { kOn, kBreak, kContinue };

  void fail(const Node& node, const absl::Status& status) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat("line ", node.line, ": ", status.message()));
  }
  void fail(const Node& node, absl::string_view what) { fail(node, absl::InvalidArgumentError(what)); }
  bool works(const Node& node) {
    if (++work_ > kMostWork || out_.size() > kMostText) fail(node, "the template does not come to an end");
    return status_.ok() && flow_ == Flow::kOn;
  }
  Value take(const Node& node, absl::StatusOr<Value> value) {
    if (value.ok()) return *std::move(value);
    fail(node, value.status());
    return undefined_value();
  }

  const Value* find(const std::string& name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      if (const auto found = scope->find(name); found != scope->end()) return &found->second;
    }
    return nullptr;
  }

  void execute(const Node& node) {
    if (!works(node)) return;
    switch (node.kind) {
      case Kind::kBody:
        for (const auto& part : node.parts) execute(*part);
        return;
      case Kind::kText:
        out_ += node.name;
        return;
      case Kind::kOutput:
        out_ += text_of(evaluate(*node.parts[0]));
        return;
      case Kind::kIf: {
        size_t i = 0;
        for (; i + 1 < node.parts.size(); i += 2) {
          const bool holds = is_true(evaluate(*node.parts[i]));
          if (!status_.ok()) return;
          if (holds) return execute(*node.parts[i + 1]);
        }
        if (i < node.parts.size()) execute(*node.parts[i]);
        return;
      }
      case Kind::kFor:
        return loop(node);
      case Kind::kSet:
        return set(node);
      case Kind::kSetBlock: {
        const std::string text = captured(*node.parts[0]);
        scopes_.back()[node.names[0]] = text;
        return;
      }
      case Kind::kMacro:
        macros_[node.name] = &node;
        return;
      case Kind::kGeneration: {
        const size_t begin = out_.size();
        execute(*node.parts[0]);
        if (captures_ == 0) generated_.emplace_back(begin, out_.size());
        return;
      }
      case Kind::kBreak:
        flow_ = Flow::kBreak;
        return;
      case Kind::kContinue:
        flow_ = Flow::kContinue;
        return;
      default:
        fail(node, "an expression stands where a tag is expected");
    }
  }

  std::string captured(const Node& body) {
    std::string outer = std::move(out_);
    out_.clear();
    ++captures_;
    execute(body);
    --captures_;
    std::swap(out_, outer);
    return outer;
  }

  void assign(const Node& node, const std::vector<std::string>& names, const Value& value) {
    if (names.size() == 1) {
      scopes_.back()[names[0]] = value;
      return;
    }
    absl::StatusOr<std::vector<Value>> members = members_of(value);
    if (!members.ok()) return fail(node, members.status());
    if (members->size() != names.size())
      return fail(node, absl::StrCat(members->size(), " values for ", names.size(), " names"));
    for (size_t i = 0; i < names.size(); ++i) scopes_.back()[names[i]] = (*members)[i];
  }

  void set(const Node& node) {
    const Value value = evaluate(*node.parts[0]);
    if (!status_.ok()) return;
    if (node.name.empty()) return assign(node, node.names, value);
    // An attribute of a namespace, which a loop's or a macro's own variables do not hide.
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      const auto found = scope->find(node.names[0]);
      if (found == scope->end() || !found->second.is_object()) continue;
      found->second[node.name] = value;
      return;
    }
    fail(node, absl::StrCat(node.names[0], " is no namespace"));
  }

  void loop(const Node& node) {
    absl::StatusOr<std::vector<Value>> all = members_of(evaluate(*node.parts[0]));
    if (!all.ok()) return fail(node, all.status());
    if (node.parts[1] != nullptr) {
      std::vector<Value> kept;
      for (const Value& one : *all) {
        scopes_.emplace_back();
        assign(node, node.names, one);
        if (is_true(evaluate(*node.parts[1]))) kept.push_back(one);
        scopes_.pop_back();
        if (!status_.ok()) return;
      }
      *all = std::move(kept);
    }
    const auto count = static_cast<int64_t>(all->size());
    for (int64_t i = 0; i < count && status_.ok(); ++i) {
      scopes_.emplace_back();
      Value place = {{"index", i + 1},        {"index0", i},
                     {"revindex", count - i}, {"revindex0", count - i - 1},
                     {"first", i == 0},       {"last", i + 1 == count},
                     {"length", count}};
      if (i > 0) place["previtem"] = (*all)[static_cast<size_t>(i - 1)];
      if (i + 1 < count) place["nextitem"] = (*all)[static_cast<size_t>(i + 1)];
      scopes_.back()["loop"] = std::move(place);
      assign(node, node.names, (*all)[static_cast<size_t>(i)]);
      execute(*node.parts[2]);
      scopes_.pop_back();
      const bool leaves = flow_ == Flow::kBreak;
      flow_ = Flow::kOn;
      if (leaves) return;
    }
    if (count == 0 && node.parts[3] != nullptr) execute(*node.parts[3]);
  }

  // A node that may be missing.
  Value evaluate_or_null(const std::unique_ptr<Node>& node) {
    return node == nullptr ? Value(nullptr) : evaluate(*node);
  }

  Value evaluate(const Node& node) {
    if (!works(node)) return undefined_value();
    switch (node.kind) {
      case Kind::kLiteral:
        return node.literal;
      case Kind::kName: {
        const Value* found = find(node.name);
        return found == nullptr ? undefined_value() : *found;
      }
      case Kind::kList: {
        Value list = Value::array();
        for (const auto& part : node.parts) list.push_back(evaluate(*part));
        return list;
      }
      case Kind::kMap: {
        Value map = Value::object();
        for (size_t i = 0; i < node.parts.size(); i += 2)
          map[text_of(evaluate(*node.parts[i]))] = evaluate(*node.parts[i + 1]);
        return map;
      }
      case Kind::kAttribute:
      case Kind::kIndex:
        return member_of(node);
      case Kind::kSlice: {
        const Value subject = evaluate(*node.parts[0]);
        const Value begin = evaluate_or_null(node.parts[1]);
        const Value end = evaluate_or_null(node.parts[2]);
        const Value step = evaluate_or_null(node.parts[3]);
        return status_.ok() ? take(node, slice(subject, begin, end, step)) : undefined_value();
      }
      case Kind::kCall:
        return call(node);
      case Kind::kFilter: {
        const Value subject = evaluate(*node.parts[0]);
        const TemplateArguments given = arguments(node);
        return status_.ok() ? take(node, apply_filter(node.name, subject, given)) : undefined_value();
      }
      case Kind::kTest: {
        const Value subject = subject_of_test(node);
        const TemplateArguments given = arguments(node);
        if (!status_.ok()) return undefined_value();
        absl::StatusOr<bool> holds = apply_test(node.name, subject, given);
        if (!holds.ok()) fail(node, holds.status());
        return Value(holds.ok() && *holds);
      }
      case Kind::kNot:
        return Value(!is_true(evaluate(*node.parts[0])));
      case Kind::kNegative: {
        const Value value = evaluate(*node.parts[0]);
        return status_.ok() ? take(node, apply_operator("-", Value(0), value)) : undefined_value();
      }
      case Kind::kBinary:
        return binary(node);
      case Kind::kCompare: {
        Value left = evaluate(*node.parts[0]);
        for (size_t i = 0; i < node.names.size() && status_.ok(); ++i) {
          Value right = evaluate(*node.parts[i + 1]);
          if (!status_.ok()) break;
          if (!is_true(take(node, apply_operator(node.names[i], left, right)))) return Value(false);
          left = std::move(right);
        }
        return Value(true);
      }
      case Kind::kChoice:
        if (is_true(evaluate(*node.parts[1]))) return evaluate(*node.parts[0]);
        return node.parts[2] == nullptr ? undefined_value() : evaluate(*node.parts[2]);
      default:
        fail(node, "a tag stands where a value is expected");
        return undefined_value();
    }
  }

  // Whether a function is defined can be asked too.
  Value subject_of_test(const Node& node) {
    const Node& subject = *node.parts[0];
    const bool asks = node.name == "defined" || node.name == "undefined" || node.name == "callable";
    if (asks && subject.kind == Kind::kName && find(subject.name) == nullptr &&
        (macros_.count(subject.name) > 0 || is_function(subject.name)))
      return Value(true);
    return evaluate(subject);
  }

  Value member_of(const Node& node) {
    const Value subject = evaluate(*node.parts[0]);
    if (!status_.ok()) return undefined_value();
    if (subject.is_discarded()) {
      fail(node, absl::StrCat(node.parts[0]->kind == Kind::kName ? node.parts[0]->name : "a value",
                              " is not defined, and has no members"));
      return undefined_value();
    }
    if (node.kind == Kind::kIndex) return member(subject, evaluate(*node.parts[1]));
    return member(subject, Value(node.name));
  }

  Value binary(const Node& node) {
    Value left = evaluate(*node.parts[0]);
    if (!status_.ok()) return undefined_value();
    if (node.name == "and") return is_true(left) ? evaluate(*node.parts[1]) : left;
    if (node.name == "or") return is_true(left) ? left : evaluate(*node.parts[1]);
    const Value right = evaluate(*node.parts[1]);
    return status_.ok() ? take(node, apply_operator(node.name, left, right)) : undefined_value();
  }

  TemplateArguments arguments(const Node& node) {
    TemplateArguments given;
    const size_t unnamed = node.parts.size() - node.names.size();
    for (size_t i = 1; i < node.parts.size() && status_.ok(); ++i) {
      Value value = evaluate(*node.parts[i]);
      if (i < unnamed) {
        given.values.push_back(std::move(value));
      } else {
        given.named.emplace_back(node.names[i - unnamed], std::move(value));
      }
    }
    return given;
  }

  Value call(const Node& node) {
    const Node& callee = *node.parts[0];
    const TemplateArguments given = arguments(node);
    if (!status_.ok()) return undefined_value();
    if (callee.kind == Kind::kAttribute) {
      const Value subject = evaluate(*callee.parts[0]);
      return status_.ok() ? take(node, call_method(callee.name, subject, given)) : undefined_value();
    }
    if (callee.kind != Kind::kName) {
      fail(node, "this value cannot be called");
      return undefined_value();
    }
    if (const auto macro = macros_.find(callee.name); macro != macros_.end()) return call_macro(*macro->second, given);
    if (callee.name == "raise_exception") {
      fail(node, absl::StrCat("the template refuses the conversation: ", text_of(given.get(0, "message"))));
      return undefined_value();
    }
    if (callee.name == "namespace" || callee.name == "dict") {
      Value map = given.values.empty() || !given.values[0].is_object() ? Value::object() : given.values[0];
      for (const auto& [key, value] : given.named) map[key] = value;
      return map;
    }
    if (callee.name == "range") return range(node, given);
    if (callee.name == "strftime_now") {
      const absl::Time day = absl::FromCivil(day_, absl::UTCTimeZone());
      return Value(absl::FormatTime(text_of(given.get(0, "format")), day, absl::UTCTimeZone()));
    }
    fail(node, absl::StrCat("the function ", callee.name, " is not known"));
    return undefined_value();
  }

  Value range(const Node& node, const TemplateArguments& given) {
    int64_t bounds[3] = {0, 0, 1};
    const size_t count = given.values.size();
    bool good = count >= 1 && count <= 3;
    for (size_t i = 0; i < count && good; ++i) {
      good = given.values[i].is_number_integer();
      if (good) bounds[count == 1 ? 1 : i] = given.values[i].get<int64_t>();
    }
    constexpr int64_t most = 100'000;
    good = good && bounds[2] != 0 && std::abs(bounds[0]) <= most && std::abs(bounds[1]) <= most;
    if (!good) {
      fail(node, "range() needs one to three whole numbers, none of them larger than 100000");
      return undefined_value();
    }
    Value list = Value::array();
    const int64_t step = std::max(-2 * most, std::min(2 * most, bounds[2]));
    for (int64_t i = bounds[0]; step > 0 ? i < bounds[1] : i > bounds[1]; i += step) list.push_back(i);
    return list;
  }

  Value call_macro(const Node& macro, const TemplateArguments& given) {
    if (calls_ == kDeepestCall) {
      fail(macro, absl::StrCat("the macro ", macro.name, " calls itself too often"));
      return undefined_value();
    }
    std::map<std::string, Value> own;
    const size_t without_default = macro.names.size() - (macro.parts.size() - 1);
    for (size_t i = 0; i < macro.names.size(); ++i) {
      Value value = given.get(i, macro.names[i]);
      if (value.is_discarded() && i >= without_default) value = evaluate(*macro.parts[i - without_default + 1]);
      own[macro.names[i]] = std::move(value);
    }
    scopes_.push_back(std::move(own));
    ++calls_;
    Value text = captured(*macro.parts[0]);
    --calls_;
    scopes_.pop_back();
    return text;
  }

  absl::CivilDay day_;
  std::vector<std::map<std::string, Value>> scopes_;
  std::map<std::string, const Node*> macros_;
  std::string out_;
  std::vector<std::pair<size_t, size_t>> generated_;
  int captures_ = 0;
  int calls_ = 0;
  Flow flow_ = Flow::kOn;
  int64_t work_ = 0;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<ChatTemplate> ChatTemplate::parse(absl::string_view source, const std::string& where) {
  absl::StatusOr<std::unique_ptr<TemplateNode>> body = parse_template(source);
  if (!body.ok()) return absl::InvalidArgumentError(absl::StrCat(where, ", ", body.status().message()));
  ChatTemplate made;
  made.where_ = where;
  made.body_ = *std::move(body);
  return made;
}

absl::StatusOr<RenderedChat> ChatTemplate::render(const nlohmann::ordered_json& variables) const {
  absl::StatusOr<RenderedChat> rendered = Renderer(variables, day_).run(*body_);
  if (!rendered.ok()) return absl::InvalidArgumentError(absl::StrCat(where_, ", ", rendered.status().message()));
  return rendered;
}

}  // namespace galleon
