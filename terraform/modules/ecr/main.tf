locals {
  services = sort(var.services)
}

resource "aws_ecr_repository" "images" {
  #checkov:skip=CKV_AWS_51:Every tag except `<service>-latest`, which development follows, is immutable; the check does not support exceptions.
  name         = var.name
  force_delete = var.force_delete

  # A production image cannot change under its tag; development's `<service>-latest` moves with every push.
  image_tag_mutability = "IMMUTABLE_WITH_EXCLUSION"

  dynamic "image_tag_mutability_exclusion_filter" {
    for_each = local.services

    content {
      filter      = "${image_tag_mutability_exclusion_filter.value}-latest"
      filter_type = "WILDCARD"
    }
  }

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = var.kms_key_arn == null ? "AES256" : "KMS"
    kms_key         = var.kms_key_arn
  }
}

resource "aws_ecr_lifecycle_policy" "images" {
  repository = aws_ecr_repository.images.name

  policy = jsonencode({
    rules = concat(
      # ECR applies only the first rule that selects an image, so the image of `<service>-latest` never expires.
      [for i, service in local.services : {
        rulePriority = 1 + i
        description  = "Never expire ${service}-latest"
        selection = {
          tagStatus     = "tagged"
          tagPrefixList = ["${service}-latest"]
          countType     = "imageCountMoreThan"
          countNumber   = 1
        }
        action = { type = "expire" }
      }],
      [for i, service in local.services : {
        rulePriority = 101 + i
        description  = "Keep the last ${var.images_kept} images of ${service}"
        selection = {
          tagStatus     = "tagged"
          tagPrefixList = ["${service}-"]
          countType     = "imageCountMoreThan"
          countNumber   = var.images_kept
        }
        action = { type = "expire" }
      }],
      # The single-platform images inside a multi-platform image have no tag either; ECR never expires them before their index.
      [{
        rulePriority = 201
        description  = "Drop what lost its tag a day ago"
        selection = {
          tagStatus   = "untagged"
          countType   = "sinceImagePushed"
          countUnit   = "days"
          countNumber = 1
        }
        action = { type = "expire" }
      }],
    )
  })
}

# The pulling identity (a node, or the job that renews a pull secret) differs between clusters, so only the policy is created here.
resource "aws_iam_policy" "pull" {
  name        = "${var.name}-image-pull"
  description = "Pulls images from the repository ${var.name}"

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "LogIn"
        Effect   = "Allow"
        Action   = "ecr:GetAuthorizationToken"
        Resource = "*"
      },
      {
        Sid      = "PullFromThisRepository"
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = aws_ecr_repository.images.arn
      },
    ]
  })
}
