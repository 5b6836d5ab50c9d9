#include <initializer_list>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/chat/template_syntax.h"

namespace galleon {
namespace {

using Token = TemplateToken;
using Node = TemplateNode;
using NodePtr = std::unique_ptr<TemplateNode>;

// Deeper nesting than any template has would overflow the stack.
constexpr int kDeepest = 200;

// Recursive descent. After the first error everything is at its end, and what is returned is not used.
class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  absl::StatusOr<NodePtr> run() {
    NodePtr body = statements({});
    if (status_.ok() && at_ < tokens_.size()) fail("there is no tag that this one ends");
    if (!status_.ok()) return status_;
    return body;
  }

 private:
  class Depth {
   public:
    explicit Depth(Parser& parser) : parser_(parser) {
      if (++parser_.depth_ > kDeepest) parser_.fail("tags or brackets are nested too deeply");
    }
    ~Depth() { --parser_.depth_; }
    Depth(const Depth&) = delete;

   private:
    Parser& parser_;
  };

  void fail(absl::string_view what) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat("line ", line(), ": ", what));
    at_ = tokens_.size();
  }
  int line() const {
    if (tokens_.empty()) return 1;
    return tokens_[std::min(at_, tokens_.size() - 1)].line;
  }
  const Token* peek(size_t ahead = 0) const { return at_ + ahead < tokens_.size() ? &tokens_[at_ + ahead] : nullptr; }
  bool is(Token::Kind kind, absl::string_view text = "", size_t ahead = 0) const {
    const Token* token = peek(ahead);
    return token != nullptr && token->kind == kind && (text.empty() || token->text == text);
  }
  bool is_operator(absl::string_view text) const { return is(Token::Kind::kOperator, text); }
  bool is_word(absl::string_view text) const { return is(Token::Kind::kName, text); }
  bool take_operator(absl::string_view text) { return is_operator(text) && ++at_ > 0; }
  bool take_word(absl::string_view text) { return is_word(text) && ++at_ > 0; }
  void expect_operator(absl::string_view text) {
    if (!take_operator(text)) fail(absl::StrCat("\"", text, "\" is expected"));
  }
  void expect_word(absl::string_view text) {
    if (!take_word(text)) fail(absl::StrCat("\"", text, "\" is expected"));
  }
  void end_block() {
    if (is(Token::Kind::kBlockEnd)) {
      ++at_;
    } else {
      fail("\"%}\" is expected");
    }
  }
  std::string name() {
    if (is(Token::Kind::kName)) return tokens_[at_++].text;
    fail("a name is expected");
    return "";
  }
  NodePtr make(Node::Kind kind, std::string name = "") const {
    auto node = std::make_unique<Node>();
    node->kind = kind;
    node->line = line();
    node->name = std::move(name);
    return node;
  }
  template <typename... Parts>
  NodePtr make_of(Node::Kind kind, std::string name, Parts... parts) const {
    NodePtr node = make(kind, std::move(name));
    (node->parts.push_back(std::move(parts)), ...);
    return node;
  }

  // Up to a tag that begins with one of `ends`, whose word is next then.
  NodePtr statements(std::initializer_list<absl::string_view> ends) {
    const Depth depth(*this);
    NodePtr body = make(Node::Kind::kBody);
    while (const Token* token = peek()) {
      if (token->kind == Token::Kind::kText) {
        body->parts.push_back(make(Node::Kind::kText, token->text));
        ++at_;
      } else if (token->kind == Token::Kind::kVariableBegin) {
        ++at_;
        body->parts.push_back(make_of(Node::Kind::kOutput, "", expression()));
        if (is(Token::Kind::kVariableEnd)) {
          ++at_;
        } else {
          fail("\"}}\" is expected");
        }
      } else {
        ++at_;
        for (absl::string_view end : ends) {
          if (is_word(end)) return body;
        }
        if (NodePtr node = statement(); node != nullptr) body->parts.push_back(std::move(node));
      }
    }
    if (ends.size() > 0) fail(absl::StrCat("{% ", *(ends.end() - 1), " %} is missing"));
    return body;
  }

  // The body of a block with one end.
  NodePtr body_until(absl::string_view end) {
    end_block();
    NodePtr body = statements({end});
    expect_word(end);
    end_block();
    return body;
  }

  NodePtr statement() {
    if (take_word("if")) return if_statement();
    if (take_word("for")) return for_statement();
    if (take_word("set")) return set_statement();
    if (take_word("macro")) return macro();
    if (take_word("generation")) return make_of(Node::Kind::kGeneration, "", body_until("endgeneration"));
    const bool leaves = is_word("break");
    if (leaves || is_word("continue")) {
      ++at_;
      if (loops_ == 0) fail("there is no loop around it");
      end_block();
      return make(leaves ? Node::Kind::kBreak : Node::Kind::kContinue);
    }
    fail(absl::StrCat("{% ", is(Token::Kind::kName) ? peek()->text : "",
                      " %} is not known; known are if, for, set, macro, generation, break, continue, raw"));
    return nullptr;
  }

  NodePtr if_statement() {
    NodePtr node = make(Node::Kind::kIf);
    while (status_.ok()) {
      node->parts.push_back(expression());
      end_block();
      node->parts.push_back(statements({"elif", "else", "endif"}));
      if (take_word("elif")) continue;
      if (take_word("else")) {
        end_block();
        node->parts.push_back(statements({"endif"}));
      }
      expect_word("endif");
      end_block();
      break;
    }
    return node;
  }

  std::vector<std::string> targets() {
    std::vector<std::string> names{name()};
    while (take_operator(",")) names.push_back(name());
    return names;
  }

  NodePtr for_statement() {
    NodePtr node = make(Node::Kind::kFor);
    node->names = targets();
    expect_word("in");
    node->parts.push_back(either());
    node->parts.push_back(take_word("if") ? expression() : nullptr);
    if (is_word("recursive")) fail("a recursive loop is not known");
    end_block();
    ++loops_;
    node->parts.push_back(statements({"else", "endfor"}));
    --loops_;
    NodePtr other;
    if (take_word("else")) {
      end_block();
      other = statements({"endfor"});
    }
    node->parts.push_back(std::move(other));
    expect_word("endfor");
    end_block();
    return node;
  }

  NodePtr set_statement() {
    NodePtr node = make(Node::Kind::kSet);
    node->names = targets();
    if (node->names.size() == 1 && take_operator(".")) node->name = name();
    if (take_operator("=")) {
      NodePtr value = expression();
      if (is_operator(",")) {
        NodePtr list = make_of(Node::Kind::kList, "", std::move(value));
        while (take_operator(",")) list->parts.push_back(expression());
        value = std::move(list);
      }
      node->parts.push_back(std::move(value));
      end_block();
      return node;
    }
    if (node->names.size() != 1 || !node->name.empty()) fail("\"=\" is expected");
    node->kind = Node::Kind::kSetBlock;
    node->parts.push_back(body_until("endset"));
    return node;
  }

  NodePtr macro() {
    NodePtr node = make(Node::Kind::kMacro, name());
    std::vector<NodePtr> defaults;
    expect_operator("(");
    while (status_.ok() && !take_operator(")")) {
      node->names.push_back(name());
      if (take_operator("=")) {
        defaults.push_back(expression());
      } else if (!defaults.empty()) {
        fail("a parameter without a default follows one that has one");
      }
      if (!is_operator(")")) expect_operator(",");
    }
    const int loops = std::exchange(loops_, 0);
    node->parts.push_back(body_until("endmacro"));
    loops_ = loops;
    for (NodePtr& value : defaults) node->parts.push_back(std::move(value));
    return node;
  }

  NodePtr expression() {
    const Depth depth(*this);
    NodePtr value = either();
    while (take_word("if")) {
      NodePtr condition = either();
      NodePtr other = take_word("else") ? expression() : nullptr;
      value = make_of(Node::Kind::kChoice, "", std::move(value), std::move(condition), std::move(other));
    }
    return value;
  }

  NodePtr either() {
    NodePtr left = both();
    while (take_word("or")) left = make_of(Node::Kind::kBinary, "or", std::move(left), both());
    return left;
  }

  NodePtr both() {
    NodePtr left = negation();
    while (take_word("and")) left = make_of(Node::Kind::kBinary, "and", std::move(left), negation());
    return left;
  }

  NodePtr negation() {
    const Depth depth(*this);
    if (take_word("not")) return make_of(Node::Kind::kNot, "", negation());
    return comparison();
  }

  NodePtr comparison() {
    NodePtr first = sum();
    NodePtr chain;
    while (status_.ok()) {
      std::string compared;
      for (const char* text : {"==", "!=", "<=", ">=", "<", ">"}) {
        if (compared.empty() && take_operator(text)) compared = text;
      }
      if (compared.empty() && take_word("in")) compared = "in";
      if (compared.empty() && is_word("not") && is(Token::Kind::kName, "in", 1)) {
        at_ += 2;
        compared = "not in";
      }
      if (compared.empty()) break;
      if (chain == nullptr) chain = make_of(Node::Kind::kCompare, "", std::move(first));
      chain->names.push_back(compared);
      chain->parts.push_back(sum());
    }
    return chain == nullptr ? std::move(first) : std::move(chain);
  }

  NodePtr sum() {
    NodePtr left = joined();
    while (is_operator("+") || is_operator("-")) {
      const std::string text = tokens_[at_++].text;
      left = make_of(Node::Kind::kBinary, text, std::move(left), joined());
    }
    return left;
  }

  NodePtr joined() {
    NodePtr left = product();
    while (take_operator("~")) left = make_of(Node::Kind::kBinary, "~", std::move(left), product());
    return left;
  }

  NodePtr product() {
    NodePtr left = unary(true);
    while (is_operator("*") || is_operator("/") || is_operator("//") || is_operator("%")) {
      const std::string text = tokens_[at_++].text;
      left = make_of(Node::Kind::kBinary, text, std::move(left), unary(true));
    }
    return left;
  }

  NodePtr unary(bool with_filters) {
    const Depth depth(*this);
    if (take_operator("-")) return make_of(Node::Kind::kNegative, "", unary(false));
    if (take_operator("+")) return unary(false);
    NodePtr node = postfix(primary());
    return with_filters ? filters(std::move(node)) : std::move(node);
  }

  NodePtr literal(nlohmann::ordered_json value) {
    NodePtr node = make(Node::Kind::kLiteral);
    node->literal = std::move(value);
    return node;
  }

  NodePtr primary() {
    const Token* token = peek();
    if (token == nullptr) {
      fail("a value is expected");
      return make(Node::Kind::kLiteral);
    }
    if (token->kind == Token::Kind::kString) {
      std::string text;
      while (is(Token::Kind::kString)) text += tokens_[at_++].text;
      return literal(text);
    }
    if (token->kind == Token::Kind::kNumber) return number();
    if (token->kind == Token::Kind::kName) {
      const std::string word = name();
      if (word == "true" || word == "True") return literal(true);
      if (word == "false" || word == "False") return literal(false);
      if (word == "none" || word == "None") return literal(nullptr);
      return make(Node::Kind::kName, word);
    }
    if (take_operator("(")) return parenthesis();
    if (take_operator("[")) {
      NodePtr list = make(Node::Kind::kList);
      while (status_.ok() && !take_operator("]")) {
        list->parts.push_back(expression());
        if (!is_operator("]")) expect_operator(",");
      }
      return list;
    }
    if (take_operator("{")) {
      NodePtr map = make(Node::Kind::kMap);
      while (status_.ok() && !take_operator("}")) {
        map->parts.push_back(expression());
        expect_operator(":");
        map->parts.push_back(expression());
        if (!is_operator("}")) expect_operator(",");
      }
      return map;
    }
    fail("a value is expected");
    return make(Node::Kind::kLiteral);
  }

  NodePtr number() {
    const std::string& text = tokens_[at_].text;
    NodePtr node;
    int64_t whole = 0;
    double value = 0;
    if (absl::SimpleAtoi(text, &whole)) {
      node = literal(whole);
    } else if (absl::SimpleAtod(text, &value)) {
      node = literal(value);
    } else {
      fail("a number is too large");
      return make(Node::Kind::kLiteral);
    }
    ++at_;
    return node;
  }

  // A value in brackets, or a tuple, which is a list here.
  NodePtr parenthesis() {
    NodePtr list = make(Node::Kind::kList);
    bool tuple = is_operator(")");
    while (status_.ok() && !is_operator(")")) {
      list->parts.push_back(expression());
      if (!take_operator(",")) break;
      tuple = true;
    }
    expect_operator(")");
    if (tuple || list->parts.empty()) return list;
    return std::move(list->parts[0]);
  }

  NodePtr postfix(NodePtr node) {
    while (status_.ok()) {
      if (take_operator(".")) {
        const std::string attribute = is(Token::Kind::kNumber) ? tokens_[at_++].text : name();
        node = make_of(Node::Kind::kAttribute, attribute, std::move(node));
      } else if (take_operator("[")) {
        node = subscript(std::move(node));
      } else if (take_operator("(")) {
        node = call_of(std::move(node));
      } else {
        break;
      }
    }
    return node;
  }

  NodePtr subscript(NodePtr node) {
    NodePtr begin = is_operator(":") ? nullptr : expression();
    if (take_operator("]")) return make_of(Node::Kind::kIndex, "", std::move(node), std::move(begin));
    expect_operator(":");
    NodePtr end = is_operator(":") || is_operator("]") ? nullptr : expression();
    NodePtr step;
    if (take_operator(":") && !is_operator("]")) step = expression();
    expect_operator("]");
    return make_of(Node::Kind::kSlice, "", std::move(node), std::move(begin), std::move(end), std::move(step));
  }

  // Behind "(".
  NodePtr call_of(NodePtr callee) {
    NodePtr call = make_of(Node::Kind::kCall, "", std::move(callee));
    arguments(*call);
    return call;
  }

  // Behind "(".
  void arguments(Node& call) {
    while (status_.ok() && !take_operator(")")) {
      if (is(Token::Kind::kName) && is(Token::Kind::kOperator, "=", 1)) {
        call.names.push_back(name());
        ++at_;
      } else if (!call.names.empty()) {
        fail("an argument without a name follows one with a name");
      }
      call.parts.push_back(expression());
      if (!is_operator(")")) expect_operator(",");
    }
  }

  NodePtr filters(NodePtr node) {
    while (status_.ok()) {
      if (take_operator("|")) {
        node = make_of(Node::Kind::kFilter, name(), std::move(node));
        if (take_operator("(")) arguments(*node);
      } else if (take_word("is")) {
        node = test(std::move(node));
      } else if (take_operator("(")) {
        node = call_of(std::move(node));
      } else {
        break;
      }
    }
    return node;
  }

  NodePtr test(NodePtr subject) {
    const bool negated = take_word("not");
    NodePtr node = make_of(Node::Kind::kTest, name(), std::move(subject));
    if (take_operator("(")) {
      arguments(*node);
    } else if (is(Token::Kind::kString) || is(Token::Kind::kNumber) || is_operator("[") ||
               (is(Token::Kind::kName) && !is_word("else") && !is_word("or") && !is_word("and") && !is_word("if") &&
                !is_word("is") && !is_word("not") && !is_word("in"))) {
      node->parts.push_back(postfix(primary()));
    }
    return negated ? make_of(Node::Kind::kNot, "", std::move(node)) : std::move(node);
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<NodePtr> parse_template(absl::string_view source) {
  ASSIGN_OR_RETURN(std::vector<Token> tokens, template_tokens(source));
  return Parser(std::move(tokens)).run();
}

}  // namespace galleon
