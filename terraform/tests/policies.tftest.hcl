# Each run is one configuration; checks/terraform/policies.mjs reads the policies from its state and simulates them.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  github_repository       = "octo-org/gateway"
  github_repository_id    = "456789"
  github_owner_id         = "123456"
  secure_parameter_values = { "/challenge/token" = "a-secret" }
}

# Without ARNs of their own, two policies could be confused.
override_resource {
  target = module.ecr.aws_iam_policy.pull
  values = { arn = "arn:aws:iam::123456789012:policy/kantox-challenge-image-pull" }
}

run "defaults" {
  assert {
    condition     = output.aux_service_role_arn == null && output.aux_service_user_name == null && output.parameter_change_queue_url == null
    error_message = "resources that cost money or grant access must be off by default"
  }
}

run "environment_instead_of_branch" {
  variables {
    github_branches     = []
    github_environments = ["production"]
  }
}

run "provider_exists_already" {
  variables {
    create_github_oidc_provider = false
  }

}

run "service_account_with_everything_on" {
  variables {
    kms_key_arn            = "arn:aws:kms:eu-west-2:123456789012:key/11111111-2222-3333-4444-555555555555"
    secure_parameters      = { "/challenge/token" = { version = 1 } }
    allow_secure_strings   = true
    parameter_change_queue = true
    workload_identity      = { method = "oidc", oidc_issuer_url = "https://oidc.example.com/k3s", image_pull_service_account = "kube-system/ecr-credentials" }
  }

  override_resource {
    target = module.workload_identity.aws_iam_openid_connect_provider.cluster
    values = { arn = "arn:aws:iam::123456789012:oidc-provider/oidc.example.com/k3s" }
  }

  override_resource {
    target = module.ssm.aws_cloudwatch_event_rule.changes["expirations"]
    values = { arn = "arn:aws:events:eu-west-2:123456789012:rule/kantox-challenge-parameter-changes-expired" }
  }
}

run "certificates" {
  variables {
    parameter_prefixes     = ["/team-a/", "/team-b"]
    parameter_change_queue = true
    workload_identity = {
      method         = "roles-anywhere"
      ca_certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    }
  }
}

run "user_who_reads_every_parameter" {
  variables {
    parameter_prefixes     = ["/"]
    parameter_change_queue = true
    workload_identity      = { method = "user", image_pull_service_account = "kube-system/ecr-credentials" }
  }

  assert {
    condition     = output.aux_service_user_name == "kantox-challenge-aux-service"
    error_message = "the user's name must be an output"
  }

  assert {
    condition     = output.image_pull_user_name == "kantox-challenge-image-pull"
    error_message = "the other user's name must be an output"
  }
}

run "shared_parameters" {
  variables {
    parameter_prefixes = ["/challenge/", "arn:aws:ssm:eu-west-2:210987654321:parameter/shared/"]
  }
}

run "shared_parameters_alone" {
  variables {
    parameter_prefixes = ["arn:aws:ssm:eu-west-2:210987654321:parameter/shared/vpc-id"]
  }
}

run "another_partition" {
  override_data {
    target = module.workload_identity.data.aws_partition.current
    values = { partition = "aws-cn", dns_suffix = "amazonaws.com.cn" }
  }
}
