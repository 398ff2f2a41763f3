output "function_app_name" {
  description = "Where the package is deployed to."
  value       = azurerm_function_app_flex_consumption.functions.name
}

output "landing_url" {
  description = "Where uploads are put."
  value       = local.landing_url
}

output "lake_url" {
  description = "Where the tables stand; null: in Unity Catalog's own storage."
  value       = local.has_lake ? local.lake_url : null
}

output "client_id" {
  description = "The functions' identity: it is added to the workspace when no client_id is given."
  value       = azurerm_user_assigned_identity.functions.client_id
}
