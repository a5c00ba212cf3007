# Each run has one invalid value, which must be rejected, among valid ones.

mock_provider "aws" {
  source = "./tests/mocks"
}

run "a_bucket_name_with_capitals" {
  command = plan

  module {
    source = "./modules/s3"
  }

  variables {
    bucket_name = "Bucket"
  }

  expect_failures = [var.bucket_name]
}
