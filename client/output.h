// How results are shown: tables for people, JSON and YAML for programs.
#pragma once

#include <google/protobuf/message.h>

#include <cstdint>
#include <string>
#include <vector>

namespace YAML {
class Node;
}  // namespace YAML

namespace galleon {

enum class OutputFormat { kTable, kJson, kYaml };

// Protobuf's JSON with snake_case names and every field, indented, the keys of maps sorted, and words of the job file
// as it has them ("pretrain"); for a list, an array.
std::string to_json(const google::protobuf::Message& message);
std::string to_yaml(const std::string& json);
std::string to_yaml(const YAML::Node& node);

// Columns as wide as their widest cell, two blanks apart. Cells are made printable.
std::string table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows);

std::string human_bytes(double bytes);       // "412 MiB", "1.50 GiB"
std::string human_count(double count);       // "58.1M"
std::string human_duration(double seconds);  // "42 s", "3 min 10 s", "2 h 5 min"
std::string human_age(int64_t since_ms, int64_t now_ms);

}  // namespace galleon
