#include "client/output.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/printable.h"
#include "proto/jobfile/message_json.h"

namespace galleon {

std::string to_json(const google::protobuf::Message& message) {
  return message_json(message, 1) + "\n";
}

namespace {

// Whether text without quotes would be read as something else: a number, a truth value, nothing.
bool needs_quotes(const std::string& text) {
  static constexpr const char* kWords[] = {"null", "true", "false", "yes", "no", "on", "off", "y", "n", ".nan", ".inf"};
  const std::string lower = absl::AsciiStrToLower(text);
  const auto is_word = [&](const char* word) { return lower == word; };
  if (text.empty() || text == "~" || std::any_of(std::begin(kWords), std::end(kWords), is_word)) return true;
  const bool begins_a_number = std::string("0123456789+-.").find(text.front()) != std::string::npos;
  return begins_a_number && lower.find_first_not_of("0123456789+-._xoabcdef:") == std::string::npos;
}

// JSON is YAML in flow style; emitted again in blocks. Text in quotes has the tag "!" there, anything else "?".
void emit(const YAML::Node& node, YAML::Emitter& out) {
  if (node.IsMap()) {
    out << (node.size() == 0 ? YAML::Flow : YAML::Block) << YAML::BeginMap;
    for (const auto& child : node) {
      out << YAML::Key;
      emit(child.first, out);
      out << YAML::Value;
      emit(child.second, out);
    }
    out << YAML::EndMap;
  } else if (node.IsSequence()) {
    out << (node.size() == 0 ? YAML::Flow : YAML::Block) << YAML::BeginSeq;
    for (const auto& child : node) emit(child, out);
    out << YAML::EndSeq;
  } else if (node.IsScalar()) {
    if (node.Tag() == "!" && needs_quotes(node.Scalar())) out << YAML::DoubleQuoted;
    out << node.Scalar();
  } else {
    out << YAML::Null;
  }
}

size_t width(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

}  // namespace

std::string to_yaml(const std::string& json) {
  return to_yaml(YAML::Load(json));
}

std::string to_yaml(const YAML::Node& node) {
  YAML::Emitter out;
  emit(node, out);
  return std::string(out.c_str()) + "\n";
}

std::string table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& given) {
  std::vector<std::vector<std::string>> rows = given;
  for (std::vector<std::string>& row : rows) {
    for (std::string& cell : row) cell = printable(cell);
  }
  std::vector<size_t> widths;
  widths.reserve(header.size());
  for (const std::string& cell : header) widths.push_back(width(cell));
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size() && i < widths.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  }
  std::string out;
  auto line = [&](const std::vector<std::string>& row) {
    std::string text;
    for (size_t i = 0; i < row.size(); ++i) {
      text += row[i];
      if (i + 1 < row.size()) text.append(widths[i] - width(row[i]) + 2, ' ');
    }
    while (!text.empty() && text.back() == ' ') text.pop_back();
    absl::StrAppend(&out, text, "\n");
  };
  if (std::any_of(header.begin(), header.end(), [](const std::string& cell) { return !cell.empty(); })) line(header);
  for (const auto& row : rows) line(row);
  return out;
}

std::string human_bytes(double bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  int unit = 0;
  // Where rounding would give 1024 it is one of the next unit.
  while (std::abs(bytes) >= (unit == 0 ? 1024 : 1023.5) && unit < 5) {
    bytes /= 1024;
    ++unit;
  }
  if (unit == 0) return absl::StrFormat("%.0f B", bytes);
  return absl::StrFormat("%.*f %s", std::abs(bytes) < 9.995 ? 2 : std::abs(bytes) < 99.95 ? 1 : 0, bytes, kUnits[unit]);
}

std::string human_count(double count) {
  constexpr const char* kUnits[] = {"", "k", "M", "G", "T"};
  int unit = 0;
  while (std::abs(count) >= 999.5 && unit < 4) {
    count /= 1000;
    ++unit;
  }
  return unit == 0 ? absl::StrFormat("%.0f", count)
                   : absl::StrFormat("%.*f%s", std::abs(count) < 99.95 ? 1 : 0, count, kUnits[unit]);
}

std::string human_duration(double seconds) {
  const auto total = static_cast<int64_t>(std::llround(std::max(0.0, seconds)));
  if (total < 60) return absl::StrCat(total, " s");
  if (total < 3600) return absl::StrCat(total / 60, " min ", total % 60, " s");
  if (total < 86400) return absl::StrCat(total / 3600, " h ", total % 3600 / 60, " min");
  return absl::StrCat(total / 86400, " d ", total % 86400 / 3600, " h");
}

std::string human_age(int64_t since_ms, int64_t now_ms) {
  return since_ms == 0 ? "-" : human_duration(static_cast<double>(now_ms - since_ms) / 1000.0);
}

}  // namespace galleon
