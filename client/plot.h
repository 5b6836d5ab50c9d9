// Curves as an SVG picture that needs nothing else, on light and dark pages.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace galleon {

struct PlotCurve {
  std::string label;
  std::map<uint64_t, double> line;   // thin
  std::map<uint64_t, double> marks;  // thick, with a dot at each
};

struct Plot {
  std::string title;
  std::string x_label;
  std::string y_label;
  bool logarithmic = false;  // the y axis; what is not above 0 is left out
  std::vector<PlotCurve> curves;
};

// Numbers that are not finite are left out.
std::string svg_of(const Plot& plot);

// Round numbers from `low` to `high`, about `wanted` of them.
std::vector<double> ticks(double low, double high, int wanted);

}  // namespace galleon
