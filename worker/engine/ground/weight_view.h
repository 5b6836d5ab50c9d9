// Weights that may not all be on this rank: whoever computes with some asks for them first.
#pragma once

namespace galleon {

// Weights are gathered in blocks (Parameter::block): `acquire` of one parameter brings the others of its block along.
// Between acquire and release Parameter::weight is whole. Collective where weights are sharded: all ranks acquire the
// same in the same order.
class WeightView {
 public:
  virtual ~WeightView() = default;
  // `next`: what is wanted next, which may be fetched while this is used; -1: unknown.
  virtual void acquire(int parameter, int next) = 0;
  virtual void release(int parameter) = 0;
  // Whether acquiring one brings the other along.
  virtual bool together(int one, int other) const = 0;
};

// Where every rank holds all weights.
class WholeWeights final : public WeightView {
 public:
  void acquire(int, int) override {}
  void release(int) override {}
  bool together(int, int) const override { return true; }
};

// A block's weights for the lifetime of this object.
class AcquiredWeights {
 public:
  AcquiredWeights(WeightView& view, int parameter, int next = -1) : view_(view), parameter_(parameter) {
    view_.acquire(parameter, next);
  }
  ~AcquiredWeights() { view_.release(parameter_); }
  AcquiredWeights(const AcquiredWeights&) = delete;
  AcquiredWeights& operator=(const AcquiredWeights&) = delete;

 private:
  WeightView& view_;
  int parameter_;
};

// For passing over all parameters: holds the block of the one that was visited last.
class WeightCursor {
 public:
  explicit WeightCursor(WeightView& view) : view_(view) {}
  ~WeightCursor() { leave(); }
  WeightCursor(const WeightCursor&) = delete;
  WeightCursor& operator=(const WeightCursor&) = delete;
  void visit(int parameter) {
    if (held_ >= 0 && view_.together(held_, parameter)) return;
    leave();
    view_.acquire(parameter, -1);
    held_ = parameter;
  }

 private:
  void leave() {
    if (held_ >= 0) view_.release(held_);
    held_ = -1;
  }
  WeightView& view_;
  int held_ = -1;
};

}  // namespace galleon
