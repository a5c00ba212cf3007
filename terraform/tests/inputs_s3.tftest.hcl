# Each run gives one value that must be refused, beside good ones.

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
