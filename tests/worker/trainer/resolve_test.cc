// The model's shape in a job: whoever plans it knows the network without its folder.
#include "worker/trainer/resolve.h"

#include <gtest/gtest.h>

namespace galleon {
namespace {

ModelConfig parsed(const std::string& rest) {
  const std::string sizes =
      R"("vocab_size":64,"hidden_size":16,"intermediate_size":24,"num_hidden_layers":2,"num_attention_heads":4)";
  absl::StatusOr<ModelConfig> config = model_config_from_json("{" + sizes + "," + rest + "}", "test", {});
  EXPECT_TRUE(config.ok()) << config.status();
  return *config;
}

TEST(ModelShape, CarriesEveryFamilyWithItsFeatures) {
  for (const char* rest :
       {R"("model_type":"llama","num_key_value_heads":2,"tie_word_embeddings":true)",
        R"("model_type":"llama","attention_bias":true)", R"("model_type":"llama","mlp_bias":true)",
        R"("model_type":"llama","rope_scaling":{"rope_type":"linear","factor":2})",
        R"("model_type":"llama","rope_scaling":{"rope_type":"dynamic","factor":2})",
        R"("model_type":"llama","rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":1,
           "high_freq_factor":4,"original_max_position_embeddings":32})",
        R"("model_type":"qwen2","rope_scaling":{"rope_type":"yarn","factor":4,"mscale":0.7})",
        R"("model_type":"mistral","num_key_value_heads":2,"sliding_window":4)",
        R"("model_type":"qwen2","use_sliding_window":true,"sliding_window":4,"max_window_layers":1)",
        R"("model_type":"qwen3","head_dim":8)", R"("model_type":"bert","num_labels":3,"classifier_dropout":0.3)",
        R"("model_type":"roberta","num_labels":1,"pad_token_id":1,"max_position_embeddings":20)"}) {
    const ModelConfig config = parsed(rest);
    const v1::ModelShape shape = shape_message(config);
    EXPECT_EQ(shape.architecture(), architecture_name(config.architecture));
    EXPECT_EQ(shape.parameters(), config.parameters()) << rest;
    absl::StatusOr<ModelConfig> again = config_from_shape(shape);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(*again, config) << rest;
  }
}

TEST(ModelShape, OfAPlainLlamaIsNumbersAloneWhateverItsSpecialTokens) {
  ModelConfig config = parsed(R"("model_type":"llama")");
  const v1::ModelShape shape = shape_message(config);
  EXPECT_TRUE(shape.config().empty());
  config.bos_token = 1;
  config.eos_token = 2;
  EXPECT_EQ(shape_message(config).SerializeAsString(), shape.SerializeAsString());
  v1::ModelShape broken = shape;
  broken.set_config("{");
  EXPECT_FALSE(config_from_shape(broken).ok());
}

// Whoever calls the scheduler says the shape: each of its numbers alone, small and beyond, is refused or can be
// planned.
TEST(ModelShape, EachNumberIsRefusedByNameOrGivesAModel) {
  const v1::ModelShape sound = shape_message(parsed(R"("model_type":"llama")"));
  const google::protobuf::Descriptor& descriptor = *v1::ModelShape::descriptor();
  int accepted = 0;
  int refused = 0;
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const google::protobuf::FieldDescriptor* field = descriptor.field(i);
    if (field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_UINT32) continue;
    for (const uint32_t value : {0U, 1U, 2U, 10'000U, 10'001U, 1U << 14, 1U << 18, 1U << 20, 1U << 24, (1U << 24) + 1,
                                 1U << 31, 0xFFFFFFFFU}) {
      v1::ModelShape shape = sound;
      shape.GetReflection()->SetUInt32(&shape, field, value);
      const absl::StatusOr<ModelConfig> config = config_from_shape(shape);
      if (!config.ok()) {
        EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument) << field->name() << " " << value;
        ++refused;
        continue;
      }
      EXPECT_GT(value, 0U) << field->name();
      EXPECT_GT(config->parameters(), 0) << field->name() << " " << value;
      ++accepted;
    }
  }
  EXPECT_GT(accepted, 10);
  EXPECT_GT(refused, 40);
}

}  // namespace
}  // namespace galleon
