#include "client/comparison.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/output.h"
#include "client/plot.h"
#include "proto/jobfile/jobfile.h"

namespace galleon {

namespace {

using Keys = std::vector<std::pair<std::string, std::string>>;

std::string flow(const YAML::Node& node) {
  if (node.IsNull()) return "null";
  if (node.IsScalar()) return node.Scalar();
  YAML::Emitter out;
  out << YAML::Flow << node;
  return out.c_str();
}

void flatten(const YAML::Node& node, const std::string& prefix, Keys& keys) {
  for (const auto& child : node) {
    const std::string key = prefix.empty() ? child.first.Scalar() : absl::StrCat(prefix, ".", child.first.Scalar());
    if (child.second.IsMap() && child.second.size() > 0) {
      flatten(child.second, key, keys);
    } else {
      keys.emplace_back(key, flow(child.second));
    }
  }
}

double lowest(const std::map<uint64_t, double>& curve, double last) {
  double found = last;
  for (const auto& [step, value] : curve) {
    if (std::isfinite(value) && !(found <= value)) found = value;
  }
  return found;
}

Compared compared(v1::JobRecord job, Curve curve) {
  Compared one;
  const double none = std::nan("");
  const auto last_of = [none](const std::map<uint64_t, double>& points) {
    return points.empty() ? none : points.rbegin()->second;
  };
  one.training = job.progress().step() > 0 ? job.progress().loss() : last_of(curve.training);
  one.validation = job.has_evaluation() ? job.evaluation().validation_loss() : last_of(curve.validation);
  one.best_training = lowest(curve.training, one.training);
  one.best_validation = lowest(curve.validation, one.validation);
  one.job = std::move(job);
  one.curve = std::move(curve);
  return one;
}

std::string number(double value) {
  return std::isnan(value) ? "-" : absl::StrFormat("%.4f", value);
}

std::string state_text(const v1::JobRecord& job) {
  const std::string state = v1::JobRecord::State_Name(job.state());
  return job.stopped_at_rung() > 0 ? absl::StrCat(state, " at ", job.stopped_at_rung()) : state;
}

std::string label_of(const Comparison& comparison, const Compared& one) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < comparison.keys.size(); ++i)
    parts.push_back(absl::StrCat(comparison.keys[i], "=", one.settings[i]));
  const std::string loss = number(comparison.by_validation ? one.validation : one.training);
  return absl::StrCat(one.job.job_id(), parts.empty() ? "" : ": ", absl::StrJoin(parts, ", "), " (", loss, ")");
}

// As RFC 4180 has it. A text that a table would take for a formula is none with a quote before it.
std::string csv_cell(std::string text) {
  if (!text.empty() && (text[0] == '=' || text[0] == '@')) text.insert(text.begin(), '\'');
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\"", "\"\""}}), "\"");
}

std::string csv_number(double value) {
  return std::isnan(value) ? "" : absl::StrFormat("%.9g", value);
}

nlohmann::ordered_json json_number(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
}

}  // namespace

Keys flat_keys(const v1::Job& job) {
  Keys keys;
  flatten(YAML::Load(job_to_yaml(job)), "", keys);
  // What the name alone makes different tells nothing.
  const std::string name = job.name();
  std::erase_if(keys, [&name](const auto& entry) {
    return entry.first == "name" ||
           (entry.first == "checkpoint.copy_to" && !name.empty() && entry.second.find(name) != std::string::npos);
  });
  return keys;
}

Comparison compare_jobs(std::vector<v1::JobRecord> jobs, std::vector<Curve> curves) {
  Comparison comparison;
  std::vector<std::map<std::string, std::string>> values;
  std::vector<std::string> order;
  std::set<std::string> known;
  // What was swept comes first, as it was given.
  for (const v1::JobRecord& job : jobs) {
    for (const v1::SweepSetting& setting : job.settings()) {
      if (known.insert(setting.key()).second) order.push_back(setting.key());
    }
  }
  for (const v1::JobRecord& job : jobs) {
    auto& own = values.emplace_back();
    for (auto& [key, value] : flat_keys(job.job())) {
      if (known.insert(key).second) order.push_back(key);
      own[key] = value;
    }
    for (const v1::SweepSetting& setting : job.settings()) own[setting.key()] = setting.value();
  }
  for (const std::string& key : order) {
    const auto value = [&key](const std::map<std::string, std::string>& of) {
      const auto it = of.find(key);
      return it == of.end() ? std::string() : it->second;
    };
    const bool same = std::all_of(values.begin(), values.end(),
                                  [&](const auto& other) { return value(other) == value(values.front()); });
    // A section that was swept whole says what its keys would say again.
    const bool within = std::any_of(comparison.keys.begin(), comparison.keys.end(), [&key](const std::string& section) {
      return key.size() > section.size() && key.compare(0, section.size(), section) == 0 && key[section.size()] == '.';
    });
    if (!same && !within) comparison.keys.push_back(key);
  }
  bool validated = false;
  bool only_trained = false;
  for (size_t i = 0; i < jobs.size(); ++i) {
    Compared one = compared(std::move(jobs[i]), std::move(curves[i]));
    for (const std::string& key : comparison.keys) one.settings.push_back(values[i][key]);
    validated |= !std::isnan(one.validation);
    only_trained |= std::isnan(one.validation) && one.job.job().data().validation().empty();
    comparison.jobs.push_back(std::move(one));
  }
  comparison.by_validation = validated && !only_trained;
  const auto loss = [&comparison](const Compared& one) {
    const double value = comparison.by_validation ? one.validation : one.training;
    return std::isfinite(value) ? value : std::numeric_limits<double>::infinity();
  };
  std::stable_sort(comparison.jobs.begin(), comparison.jobs.end(),
                   [&loss](const Compared& a, const Compared& b) { return loss(a) < loss(b); });
  return comparison;
}

std::string comparison_table(const Comparison& comparison) {
  std::vector<std::string> header{"JOB"};
  header.insert(header.end(), comparison.keys.begin(), comparison.keys.end());
  for (const char* column : {"STATE", "STEP", "TRAINING", "BEST", "VALIDATION", "BEST"}) header.emplace_back(column);
  std::vector<std::vector<std::string>> rows;
  for (const Compared& one : comparison.jobs) {
    std::vector<std::string>& row = rows.emplace_back(std::vector<std::string>{one.job.job_id()});
    for (const std::string& value : one.settings) row.push_back(value.empty() ? "-" : value);
    row.push_back(state_text(one.job));
    row.push_back(one.job.progress().step() == 0
                      ? "-"
                      : absl::StrFormat("%d/%d", one.job.progress().step(), one.job.progress().total_steps()));
    for (const double value : {one.training, one.best_training, one.validation, one.best_validation})
      row.push_back(number(value));
  }
  return table(header, rows);
}

std::string comparison_csv(const Comparison& comparison) {
  std::vector<std::string> header{"job"};
  header.insert(header.end(), comparison.keys.begin(), comparison.keys.end());
  for (const char* column : {"state", "stopped_at", "step", "total_steps", "training_loss", "best_training_loss",
                             "validation_loss", "best_validation_loss"})
    header.emplace_back(column);
  std::string out;
  const auto line = [&out](std::vector<std::string> cells) {
    for (std::string& cell : cells) cell = csv_cell(std::move(cell));
    absl::StrAppend(&out, absl::StrJoin(cells, ","), "\n");
  };
  line(header);
  for (const Compared& one : comparison.jobs) {
    std::vector<std::string> row{one.job.job_id()};
    row.insert(row.end(), one.settings.begin(), one.settings.end());
    row.push_back(v1::JobRecord::State_Name(one.job.state()));
    row.push_back(one.job.stopped_at_rung() == 0 ? "" : absl::StrCat(one.job.stopped_at_rung()));
    row.push_back(absl::StrCat(one.job.progress().step()));
    row.push_back(absl::StrCat(one.job.progress().total_steps()));
    for (const double value : {one.training, one.best_training, one.validation, one.best_validation})
      row.push_back(csv_number(value));
    line(std::move(row));
  }
  return out;
}

std::string comparison_json(const Comparison& comparison) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const Compared& one : comparison.jobs) {
    nlohmann::ordered_json& entry = all.emplace_back();
    entry["job_id"] = one.job.job_id();
    entry["group"] = one.job.group();
    entry["settings"] = nlohmann::ordered_json::object();
    for (size_t i = 0; i < comparison.keys.size(); ++i) entry["settings"][comparison.keys[i]] = one.settings[i];
    entry["state"] = v1::JobRecord::State_Name(one.job.state());
    entry["stopped_at_rung"] = one.job.stopped_at_rung();
    entry["step"] = one.job.progress().step();
    entry["total_steps"] = one.job.progress().total_steps();
    entry["training_loss"] = json_number(one.training);
    entry["best_training_loss"] = json_number(one.best_training);
    entry["validation_loss"] = json_number(one.validation);
    entry["best_validation_loss"] = json_number(one.best_validation);
  }
  return all.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string comparison_svg(const Comparison& comparison, const std::string& title, bool logarithmic) {
  Plot plot;
  plot.title = title;
  plot.x_label = "step";
  plot.y_label = comparison.by_validation ? "loss (thin: training, with dots: validation)" : "training loss";
  plot.logarithmic = logarithmic;
  for (const Compared& one : comparison.jobs)
    plot.curves.push_back({label_of(comparison, one), one.curve.training, one.curve.validation});
  return svg_of(plot);
}

}  // namespace galleon
