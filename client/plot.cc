#include "client/plot.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "common/base/printable.h"

namespace galleon {

namespace {

constexpr double kWidth = 720;
constexpr double kHeight = 420;
constexpr double kLeft = 64;
constexpr double kTop = 40;
constexpr double kRight = 16;
constexpr double kBottom = 48;
constexpr double kLegendLine = 18;
constexpr size_t kMostPoints = 1000;  // of a line; more than there are pixels
// Told apart by people who see colours differently, on white and on black; then again with dashes.
constexpr const char* kColours[] = {"#3b82d0", "#e07b1a", "#2a9d6f", "#c74b8a",
                                    "#8a6fd1", "#b59b00", "#4ba6c0", "#9a6240"};
constexpr const char* kDashes[] = {"", "6 3", "2 3", "8 3 2 3"};

std::string escaped(const std::string& text) {
  return absl::StrReplaceAll(printable(text), {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void take(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
};

class Drawing {
 public:
  explicit Drawing(const Plot& plot) : plot_(plot) {
    for (const PlotCurve& curve : plot.curves) {
      for (const auto* points : {&curve.line, &curve.marks}) {
        for (const auto& [step, value] : *points) {
          if (!shown(value)) continue;
          x_.take(static_cast<double>(step));
          y_.take(scaled(value));
        }
      }
    }
    if (x_.empty()) x_ = {0, 1}, y_ = {0, 1};
    if (x_.low == x_.high) x_.low -= 1, x_.high += 1;
    const double margin = y_.low == y_.high ? 0.5 : (y_.high - y_.low) * 0.04;
    y_.low -= margin;
    y_.high += margin;
  }

  std::string svg() {
    const double legend = kTop + kHeight + kBottom + 8;
    const double height = legend + kLegendLine * static_cast<double>(plot_.curves.size()) + 12;
    out_ = absl::StrFormat(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" "
        "font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\">\n"
        "<style>svg{color:#222;background:#fff} text{fill:currentColor} .grid{stroke:currentColor;stroke-opacity:.15} "
        ".axis{stroke:currentColor;fill:none} @media (prefers-color-scheme:dark){svg{color:#ddd;background:#15171a}}"
        "</style>\n",
        kLeft + kWidth + kRight, height, kLeft + kWidth + kRight, height);
    absl::StrAppendFormat(&out_, "<title>%s</title>\n<text x=\"%.0f\" y=\"24\" font-size=\"15\">%s</text>\n",
                          escaped(plot_.title), kLeft, escaped(plot_.title));
    axes();
    for (size_t i = 0; i < plot_.curves.size(); ++i) curve(i, legend + kLegendLine * static_cast<double>(i + 1) - 4);
    absl::StrAppend(&out_, "</svg>\n");
    return out_;
  }

 private:
  bool shown(double value) const { return std::isfinite(value) && (!plot_.logarithmic || value > 0); }
  double scaled(double value) const { return plot_.logarithmic ? std::log10(value) : value; }
  double x(double step) const { return kLeft + (step - x_.low) / (x_.high - x_.low) * kWidth; }
  double y(double value) const { return kTop + kHeight - (scaled(value) - y_.low) / (y_.high - y_.low) * kHeight; }

  void axes() {
    for (const double step : ticks(x_.low, x_.high, 7)) {
      absl::StrAppendFormat(&out_,
                            "<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/><text x=\"%.1f\" y=\"%.1f\" "
                            "text-anchor=\"middle\">%.10g</text>\n",
                            x(step), kTop, kTop + kHeight, x(step), kTop + kHeight + 16, step);
    }
    for (const double value : y_ticks()) {
      absl::StrAppendFormat(&out_,
                            "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/><text x=\"%.1f\" y=\"%.1f\" "
                            "text-anchor=\"end\">%.6g</text>\n",
                            kLeft, y(value), kLeft + kWidth, kLeft - 6, y(value) + 4, value);
    }
    absl::StrAppendFormat(&out_, "<path class=\"axis\" d=\"M%.1f %.1fV%.1fH%.1f\"/>\n", kLeft, kTop, kTop + kHeight,
                          kLeft + kWidth);
    absl::StrAppendFormat(&out_, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n", kLeft + kWidth / 2,
                          kTop + kHeight + 36, escaped(plot_.x_label));
    absl::StrAppendFormat(&out_,
                          "<text transform=\"translate(16 %.1f) rotate(-90)\" text-anchor=\"middle\">%s%s</text>\n",
                          kTop + kHeight / 2, escaped(plot_.y_label), plot_.logarithmic ? ", logarithmic" : "");
  }

  std::vector<double> y_ticks() const {
    if (!plot_.logarithmic) return ticks(y_.low, y_.high, 7);
    std::vector<double> found;
    for (int power = static_cast<int>(std::floor(y_.low)); power <= std::ceil(y_.high); ++power) {
      for (const double factor : {1.0, 2.0, 5.0}) {
        const double value = factor * std::pow(10, power);
        if (std::log10(value) >= y_.low && std::log10(value) <= y_.high) found.push_back(value);
      }
    }
    // Within less than a decade powers are too far apart.
    if (found.size() >= 3) return found;
    return ticks(std::pow(10, y_.low), std::pow(10, y_.high), 6);
  }

  void curve(size_t index, double legend_y) {
    const PlotCurve& curve = plot_.curves[index];
    const char* colour = kColours[index % std::size(kColours)];
    const std::string dash = kDashes[index / std::size(kColours) % std::size(kDashes)];
    const std::string style = absl::StrCat("fill=\"none\" stroke=\"", colour, "\"",
                                           dash.empty() ? "" : absl::StrCat(" stroke-dasharray=\"", dash, "\""));
    absl::StrAppend(&out_, "<g><title>", escaped(curve.label), "</title>\n");
    // Where there are marks, they are what is compared.
    const char* faint = curve.marks.empty() ? "" : " stroke-opacity=\".45\"";
    line(curve.line, absl::StrCat(style, " stroke-width=\"1.4\"", faint));
    line(curve.marks, absl::StrCat(style, " stroke-width=\"2\""));
    for (const auto& [step, value] : curve.marks) {
      if (!shown(value) || curve.marks.size() > 100) continue;
      absl::StrAppendFormat(&out_, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.6\" fill=\"%s\"/>\n",
                            x(static_cast<double>(step)), y(value), colour);
    }
    absl::StrAppendFormat(&out_,
                          "<path %s stroke-width=\"2\" d=\"M%.1f %.1fh28\"/><text x=\"%.1f\" y=\"%.1f\">%s</text>\n",
                          style, kLeft, legend_y - 4, kLeft + 36, legend_y, escaped(curve.label));
    absl::StrAppend(&out_, "</g>\n");
  }

  void line(const std::map<uint64_t, double>& points, const std::string& style) {
    const size_t every = points.size() / kMostPoints + 1;
    std::string path;
    size_t number = 0;
    for (const auto& [step, value] : points) {
      const bool last = number + 1 == points.size();
      if (number++ % every != 0 && !last) continue;
      if (!shown(value)) continue;
      absl::StrAppendFormat(&path, "%s%.1f %.1f", path.empty() ? "M" : "L", x(static_cast<double>(step)), y(value));
    }
    if (!path.empty()) absl::StrAppend(&out_, "<path ", style, " d=\"", path, "\"/>\n");
  }

  const Plot& plot_;
  Range x_;
  Range y_;
  std::string out_;
};

}  // namespace

std::vector<double> ticks(double low, double high, int wanted) {
  const double rough = (high - low) / wanted;
  if (!(rough > 0)) return {low};
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double pace = power;
  for (const double factor : {1.0, 2.0, 5.0, 10.0}) {
    pace = factor * power;
    if (pace >= rough) break;
  }
  std::vector<double> found;
  for (double value = std::ceil(low / pace - 1e-9) * pace; value <= high + pace * 1e-9; value += pace)
    found.push_back(std::abs(value) < pace * 1e-9 ? 0 : value);
  return found;
}

std::string svg_of(const Plot& plot) {
  return Drawing(plot).svg();
}

}  // namespace galleon
