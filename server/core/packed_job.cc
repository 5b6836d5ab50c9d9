#include "server/core/packed_job.h"

#include <zstd.h>

#include <algorithm>

#include "common/base/check.h"

namespace galleon::server {

namespace {

constexpr size_t kSampleBytes = 32 << 10;
constexpr size_t kWithOneSample = 4'096;  // jobs, then a new one is made of newer jobs
constexpr size_t kSharedTexts = 4'096;    // known at once, then they are learned anew
constexpr int kLevel = 3;

// Above all that a request may bring, whatever has been noted since.
constexpr unsigned long long kLargestBody = 1ULL << 30;  // NOLINT(google-runtime-int): as zstd has it

size_t checked(size_t result) {
  GALLEON_CHECK(!ZSTD_isError(result)) << "a packed job: " << ZSTD_getErrorName(result);
  return result;
}

absl::string_view text_of(const std::shared_ptr<const std::string>& text) {
  return text == nullptr ? absl::string_view() : absl::string_view(*text);
}

}  // namespace

bool JobFacts::labelled(const std::string& key, const std::string& value) const {
  if (job != nullptr) {
    const auto it = job->labels().find(key);
    return it != job->labels().end() && it->second == value;
  }
  return packed_labels != nullptr &&
         std::find(packed_labels->begin(), packed_labels->end(), std::make_pair(key, value)) != packed_labels->end();
}

JobFacts facts_of(const v1::JobState& job) {
  const v1::JobRecord& record = job.record();
  JobFacts facts;
  facts.number = job.number();
  facts.revision = job.revision();
  facts.first_event = job.events().empty() ? 0 : job.events(0).revision();
  facts.dropped = job.dropped();
  facts.state = record.state();
  facts.create_time_ms = record.create_time_ms();
  facts.end_time_ms = record.end_time_ms();
  facts.job_id = record.job_id();
  facts.queue = record.queue();
  facts.owner = record.owner();
  facts.project = record.project();
  facts.group = record.group();
  facts.job = &record.job();
  return facts;
}

JobFacts PackedJob::facts() const {
  JobFacts facts{numbers_};
  facts.job_id = job_id_;
  facts.queue = text_of(queue_);
  facts.owner = text_of(owner_);
  facts.project = text_of(project_);
  facts.group = text_of(group_);
  facts.packed_labels = labels_.get();
  return facts;
}

void JobPacker::Free::operator()(ZSTD_CCtx* context) const {
  ZSTD_freeCCtx(context);
}
void JobPacker::Free::operator()(ZSTD_CDict* dictionary) const {
  ZSTD_freeCDict(dictionary);
}
void JobUnpacker::Free::operator()(ZSTD_DCtx* context) const {
  ZSTD_freeDCtx(context);
}

JobPacker::JobPacker() : context_(ZSTD_createCCtx()) {
  GALLEON_CHECK(context_ != nullptr);
  checked(ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, kLevel));
  checked(ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_dictIDFlag, 0));
}
JobPacker::~JobPacker() = default;
JobUnpacker::JobUnpacker() : context_(ZSTD_createDCtx()) {
  GALLEON_CHECK(context_ != nullptr);
}
JobUnpacker::~JobUnpacker() = default;

// What the next sample is made of, once it is time for one.
void JobPacker::learn(absl::string_view body) {
  ++packed_with_sample_;
  if (sample_ != nullptr && packed_with_sample_ < kWithOneSample) return;
  next_sample_.append(body.data(), std::min(body.size(), kSampleBytes / 4));
  if (next_sample_.size() < kSampleBytes) return;
  sample_ = std::make_shared<const std::string>(std::exchange(next_sample_, {}));
  packed_with_sample_ = 0;
  dictionary_.reset(ZSTD_createCDict(sample_->data(), sample_->size(), kLevel));
  GALLEON_CHECK(dictionary_ != nullptr) << "no memory";
  checked(ZSTD_CCtx_refCDict(context_.get(), dictionary_.get()));
}

std::shared_ptr<const std::string> JobPacker::shared(const std::string& text) {
  if (text.empty()) return nullptr;
  if (shared_.size() >= kSharedTexts) shared_.clear();
  std::shared_ptr<const std::string>& known = shared_[text];
  if (known == nullptr) known = std::make_shared<const std::string>(text);
  return known;
}

std::shared_ptr<const PackedJob> JobPacker::pack(const v1::JobState& job) {
  job.SerializeToString(&body_);
  return pack(job, body_);
}

std::shared_ptr<const PackedJob> JobPacker::pack(const v1::JobState& job, absl::string_view body) {
  auto packed = std::make_shared<PackedJob>();
  packed->numbers_ = facts_of(job);
  packed->job_id_ = job.record().job_id();
  packed->queue_ = shared(job.record().queue());
  packed->owner_ = shared(job.record().owner());
  packed->project_ = shared(job.record().project());
  packed->group_ = shared(job.record().group());
  if (const auto& labels = job.record().job().labels(); !labels.empty())
    packed->labels_ = std::make_unique<const JobLabels>(labels.begin(), labels.end());
  packed->sample_ = sample_;
  compressed_.resize(ZSTD_compressBound(body.size()));
  const size_t size =
      checked(ZSTD_compress2(context_.get(), compressed_.data(), compressed_.size(), body.data(), body.size()));
  packed->body_.assign(compressed_.data(), size);
  learn(body);
  return packed;
}

absl::string_view JobUnpacker::body(const PackedJob& packed) {
  const std::string& from = packed.body_;
  const unsigned long long size = ZSTD_getFrameContentSize(from.data(), from.size());  // NOLINT(google-runtime-int)
  GALLEON_CHECK(size <= kLargestBody) << "a packed job has no size";
  body_.resize(size);
  const std::string* sample = packed.sample_.get();
  const size_t found = checked(ZSTD_decompress_usingDict(context_.get(), body_.data(), body_.size(), from.data(),
                                                         from.size(), sample == nullptr ? nullptr : sample->data(),
                                                         sample == nullptr ? 0 : sample->size()));
  GALLEON_CHECK_EQ(found, static_cast<size_t>(size));
  return body_;
}

void JobUnpacker::unpack(const PackedJob& packed, v1::JobState& job) {
  const absl::string_view bytes = body(packed);
  GALLEON_CHECK(job.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) << packed.job_id_;
}

}  // namespace galleon::server
